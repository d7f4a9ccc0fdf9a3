"""The report of a large sweep: how long it takes, and how large its page is.

    python benchmarks/sweep_report.py            500 run folders, made up, in a temporary folder
    python benchmarks/sweep_report.py --runs 50 --keep FOLDER

A folder has what a real run leaves for the report: run.json, config.yaml as the default config resolves, and a
metrics.csv of 200 rows. Over optimizer, LR, weight decay and dropout, drawn at random, the runs score as runs do: best
at an LR of their optimizer's own, lost above another one.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stride.pipeline import checked
from stride.report import record

ROWS, EVERY, VALIDATED = 200, 10, 10  # rows of metrics.csv, optimizer steps and rows between two of them
BEST = {"adam": 3e-3, "sgd": 1e-1}
UNTRAINED = math.log(10)
HEADER = "step,lr/all,momentum/all,epoch,train/loss,grad/norm,val/loss,val/acc,test/loss,test/acc"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the runs are made, and left")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        make_sweep(folder, given.runs)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "stride.report", str(folder)], capture_output=True, text=True)
        took = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(done.stderr)
        print(f"report of {given.runs} runs: {took:.2f} s, as a process of its own")
        for name in ("sweep.html", "sweep.json", "sweep.csv", "sweep.md"):
            print(f"{name:<10} {(folder / name).stat().st_size:>9,} bytes")


def make_sweep(folder: Path, runs: int) -> None:
    """`runs` run folders below `folder`."""
    config = record.start(None, task="train", words=[], seed=42, lr=1e-3, score={"name": "val/loss", "mode": "min"})
    template = folder / "template"
    template.mkdir(parents=True)
    record.Record(template, config.data).save_config(checked([]).cfg)
    text = (template / "config.yaml").read_text(encoding="utf-8")
    (template / "config.yaml").unlink()
    template.rmdir()
    for number in range(runs):
        _make_run(folder / str(number), random.Random(number), text, config.data)


def _make_run(folder: Path, draw: random.Random, config: str, data: dict) -> None:
    optimizer, lr = draw.choice(("adam", "sgd")), 10 ** draw.uniform(-5, 1.5)
    decay, dropout = 10 ** draw.uniform(-6, -1), draw.choice((0.0, 0.1, 0.3))
    decades = math.log10(lr / BEST[optimizer])
    score = 0.04 + min(2.2, 0.25 * decades**2) + 0.1 * dropout + 0.05 * decay + 0.01 * draw.random()
    status = "diverged" if decades > 2 else draw.choices(("finished", "stopped_early", "pruned"), (8, 1, 1))[0]
    words = [f"optimizer={optimizer}", f"optimizer.lr={lr:.6g}", f"optimizer.weight_decay={decay:.6g}"]
    words += [f"model.dropout={dropout}", f"name={folder.name}", f"output_root={folder.parent}"]
    rows = draw.randrange(20, 80) if status in ("diverged", "pruned") else ROWS
    folder.mkdir()
    (folder / "metrics.csv").write_text("\n".join([HEADER, *_course(score, rows, status, draw)]) + "\n")
    law = "torch.optim.SGD" if optimizer == "sgd" else "torch.optim.Adam"
    config = config.replace("torch.optim.Adam", law).replace("lr: 0.001", f"lr: {lr:.6g}")
    (folder / "config.yaml").write_text(config)
    told = {
        "id": folder.name,
        "status": status,
        "overrides": words,
        "lr": data["lr"] | {"asked": lr, "used": lr, "peak": lr},
        "steps": rows * EVERY,
        "epochs": rows // VALIDATED,
        "seconds": {"setup": 0.2, "tune": None, "fit": rows / 20, "test": 0.1},
        "score": data["score"] | {"value": None if status == "diverged" else score},
        "last": {"val/loss": score + 0.01 * draw.random()},
    }
    (folder / "run.json").write_text(json.dumps(data | told, indent=1))


def _course(score: float, rows: int, status: str, draw: random.Random) -> list[str]:
    """Rows of metrics.csv: an exponential fall to the score, with noise and now and then a spike."""
    lines, spike = [], draw.randrange(10, 2 * ROWS)
    for row in range(rows):
        loss = score + (UNTRAINED - score) * math.exp(-6 * row / ROWS)
        train = loss * (1 + 0.1 * draw.gauss(0, 1)) + (1.5 if row == spike else 0)
        if status == "diverged":
            train = UNTRAINED * 1.05**row if row < rows - 1 else math.nan
        step = row * EVERY - (row > 0)
        val = f"{loss},{1 - loss / 3}" if row % VALIDATED == VALIDATED - 1 and status != "diverged" else ","
        lines.append(f"{step},{1e-3 * (1 - row / ROWS)},0.9,{row // VALIDATED},{train},{abs(train) * 1.3},{val},,")
    return lines


if __name__ == "__main__":
    main()
