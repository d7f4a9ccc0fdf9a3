"""Start-up: what a person waits for before anything is computed, beside the imports that nobody can avoid.

    python benchmarks/startup.py             medians of whole processes, run in turn; bytecode is cached first

`first step` ends in the first `optimizer.step` of the default run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = str(Path(__file__).resolve().parents[1] / "train.py")
FIRST_STEP = """
import os, sys
from torch.optim.optimizer import register_optimizer_step_pre_hook
register_optimizer_step_pre_hook(lambda *_: os._exit(0))
from stride.cli import main
sys.exit(main(sys.argv[1:]))
"""


def commands(folder: str) -> dict[str, tuple[list[str], dict[str, str], int]]:
    """Name -> words after `python`, environment, the exit code that it must have."""
    complete = {"_ARGCOMPLETE": "1", "COMP_LINE": "train.py optimizer=", "COMP_POINT": "19"}
    runs = [f"output_root={folder}", "callbacks.progress=null"]
    return {
        "import hydra": (["-c", "import hydra"], {}, 0),
        "train.py --help": ([TRAIN, "--help"], {}, 0),
        "tab completion": ([TRAIN, "-sc", "query=bash"], complete, 0),
        "train.py --cfg job": ([TRAIN, "--cfg", "job"], {}, 0),
        "refusal (name)": ([TRAIN, "optimizer=adm"], {}, 2),
        "refusal (value)": ([TRAIN, "optimizer.lr=-1"], {}, 2),
        "import pytorch_lightning": (["-c", "import pytorch_lightning"], {}, 0),
        "the same and the data": (
            ["-c", "import pytorch_lightning; from sklearn.datasets import load_digits as d; d()"],
            {},
            0,
        ),
        "first step": (["-c", FIRST_STEP, *runs], {}, 0),
    }


def seconds(words: list[str], more: dict[str, str], code: int) -> float:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | more
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True)
    took = time.perf_counter() - start
    if done.returncode != code:
        raise RuntimeError(f"{words}: exit {done.returncode}, expected {code}\n{done.stderr}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        todo = commands(folder)
        for words, env, code in todo.values():
            seconds(words, env, code)  # uncounted: writes the bytecode
        took = {name: [] for name in todo}
        for _ in range(rounds):
            for name, (words, env, code) in todo.items():
                took[name].append(seconds(words, env, code))
    middle = {name: statistics.median(times) for name, times in took.items()}
    print(f"medians of {rounds} runs in turn, bytecode cached, Python {sys.version.split()[0]}")
    for name, value in middle.items():
        of = statistics.median(a / b for a, b in zip(took[name], took["import hydra"], strict=True))
        print(f"{name:<26}{value:8.2f} s{of:8.2f} x import hydra")
    data = middle["the same and the data"] - middle["import pytorch_lightning"]
    ratio = (middle["first step"] - data) / middle["import pytorch_lightning"]
    print(f"first step, less {data:.2f} s for the data: {ratio:.2f} x import pytorch_lightning")


if __name__ == "__main__":
    main()
