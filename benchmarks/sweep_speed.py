"""A sweep's wall-clock against Hydra's basic launcher and against one fresh process a trial, side by side.

    python benchmarks/sweep_speed.py             three rounds; each runs all three, one after the other
    python benchmarks/sweep_speed.py --rounds 5 --write

The sweep is 16 learning rates of the default digits CNN, 5 epochs each, two trials at once with one thread each.
Hydra's basic launcher runs the same train function 16 times in one process, with the same one thread; its span, like
the sweep's, is from the first trial's start to the last one's end. The fresh processes are `python train.py`, one
after the other; they and the sweep are compared as whole commands. Four of the 16 are run, and count four times.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "sweep_speed.txt"
LRS = [f"{10 ** (-4 + 3 * index / 15):.3g}" for index in range(16)]
WORDS = ("trainer.max_epochs=5", "trainer.accelerator=cpu")

# Hydra's own launcher and sweeper over the train function of this project, as a template without workers has it.
BASIC = """
import sys, time
import hydra
from hydra.core.hydra_config import HydraConfig
from stride import pipeline

@hydra.main(version_base="1.3", config_path={conf!r}, config_name="train")
def job(cfg):
    hydra_job = HydraConfig.get()
    words = [word for word in hydra_job.overrides.task if not word.startswith("hydra")]
    began = time.time()
    outcome = pipeline.run(pipeline.checked([*words, f"name={{hydra_job.job.num}}", "output_root={root}"]))
    print("SPAN", began, time.time(), outcome.status, file=sys.stderr)

job()
"""

# What a trial of the sweep does until its first step: when its process began, what loading its data took.
FIRST_STEP = """
import os, runpy, sys, time
with open("/proc/self/stat") as file:
    ticks = int(file.read().rpartition(")")[2].split()[19])
with open("/proc/uptime") as file:
    began = time.time() - float(file.read().split()[0]) + ticks / os.sysconf("SC_CLK_TCK")
from stride import build
from torch.optim.optimizer import register_optimizer_step_pre_hook
loading, first = [0.0], []
plain = build.datamodule
def timed(cfg):
    start = time.time()
    made = plain(cfg)
    loading[0] += time.time() - start
    return made
build.datamodule = timed
def stepped(*_):
    if not first:
        first.append(time.time())
        print("FIRST", first[0] - began - loading[0], file=sys.stderr)
register_optimizer_step_pre_hook(stepped)
sys.argv[0] = {train!r}
runpy.run_path({train!r}, run_name="__main__")
"""
DRIVER = """
import sys
from pathlib import Path
from stride.cli import sweep_line
from stride.sweep.driver import run
line = sweep_line(sys.argv[2:])
sys.exit(run(line.overrides, line.cfg, script=Path(sys.argv[1])).exit_code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"also into {RESULT.relative_to(ROOT)}")
    given = parser.parse_args()
    rounds = []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(one_round(Path(folder)))
        print(
            f"round {number + 1}: " + ", ".join(f"{key} {value:.2f}" for key, value in rounds[-1].items()), flush=True
        )
    machine = f"{os.cpu_count()} shared CPU cores, {platform.machine()}, Python {platform.python_version()}"
    first = [one["first step"] for one in rounds]
    lines = [
        f"# python benchmarks/sweep_speed.py --rounds {given.rounds}   ({machine}, {date.today()})",
        ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "hydra-core", "optuna")),
        ratio("span: sweep / Hydra's basic launcher", rounds, "sweep span", "basic span"),
        ratio("whole command: sweep / a fresh process a trial", rounds, "sweep whole", "fresh whole"),
        f"from fork to first step, beyond loading the data: median {median(first):.2f} s, at most {max(first):.2f} s",
    ]
    print("\n".join(lines))
    if given.write:
        RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def ratio(title: str, rounds: list[dict[str, float]], above: str, below: str) -> str:
    ratios = sorted(one[above] / one[below] for one in rounds)
    return f"{title}: median {median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}"


def one_round(folder: Path) -> dict[str, float]:
    """Seconds of each way; the order in which they run is the same in every round."""
    sweep_whole, sweep_span = sweep(folder)
    basic_whole, basic_span = basic(folder)
    return {
        "sweep whole": sweep_whole,
        "sweep span": sweep_span,
        "basic whole": basic_whole,
        "basic span": basic_span,
        "fresh whole": fresh(folder),
        "first step": first_step(folder),
    }


def sweep(folder: Path) -> tuple[float, float]:
    line = ("-m", f"optimizer.lr={','.join(LRS)}", *WORDS, "sweep.jobs=2", "name=sweep", f"output_root={folder}")
    whole, _ = run([sys.executable, "train.py", *line])
    told = [json.loads(line) for line in (folder / "sweep" / "study.journal").read_text().splitlines()]
    begun = [datetime.fromisoformat(one["datetime_start"]).timestamp() for one in told if one.get("datetime_start")]
    ended = [datetime.fromisoformat(one["datetime_complete"]).timestamp() for one in told if "datetime_complete" in one]
    assert len(begun) == len(ended) == len(LRS)
    return whole, max(ended) - min(begun)


def basic(folder: Path) -> tuple[float, float]:
    script = folder / "basic.py"
    script.write_text(BASIC.format(conf=str(ROOT / "conf"), root=folder / "basic"), encoding="utf-8")
    line = ("-m", f"optimizer.lr={','.join(LRS)}", *WORDS, "hydra/sweeper=basic", "hydra/launcher=basic")
    whole, told = run([sys.executable, str(script), *line, f"hydra.sweep.dir={folder}/hydra"], threads=1)
    spans = [(float(began), float(ended)) for began, ended in re.findall(r"SPAN (\S+) (\S+) finished", told)]
    assert len(spans) == len(LRS)
    return whole, spans[-1][1] - spans[0][0]


def fresh(folder: Path) -> float:
    line = (*WORDS, f"output_root={folder / 'fresh'}")
    return 4 * sum(run([sys.executable, "train.py", f"optimizer.lr={lr}", *line])[0] for lr in LRS[::4])


def first_step(folder: Path) -> float:
    """The median over trials, two at once."""
    script = folder / "first_step.py"
    script.write_text(FIRST_STEP.format(train=str(ROOT / "train.py")), encoding="utf-8")
    line = (f"optimizer.lr={','.join(LRS[:8])}", *WORDS, "sweep.jobs=2", "name=first", f"output_root={folder}")
    run([sys.executable, "-c", DRIVER, str(script), *line])
    told = [(folder / "first" / "logs" / f"{number}-stderr.log").read_text() for number in range(8)]
    return median(float(found) for text in told for found in re.findall(r"FIRST (\S+)", text))


def run(command: list[str], threads: int | None = None) -> tuple[float, str]:
    env = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")}
    if threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return time.perf_counter() - start, done.stderr


if __name__ == "__main__":
    main()
