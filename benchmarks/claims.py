"""What each recipe in conf/experiment claims: its test score over five seeds, measured.

    python benchmarks/claims.py digits wine      prints the line that stands at the head of each recipe
    python benchmarks/claims.py                  all of them

Every seed is a whole run as a user gets it (`python train.py experiment=NAME seed=N`), in this process.
"""

import datetime
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

import stride

CONF = Path(__file__).resolve().parents[1] / "conf" / "experiment"
SEEDS = range(5)
# The test score that a recipe is judged by.
SCORES = {"diabetes": "test/r2", "text": "test/perplexity"}


def measure(name: str, seeds: range = SEEDS) -> tuple[str, list[float], list[float]]:
    """The score's name, its value for each seed, and the seconds of each run (everything but the imports)."""
    score, values, seconds = SCORES.get(name, "test/acc"), [], []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            words = [f"experiment={name}", f"seed={seed}", f"output_root={folder}", "callbacks.progress=null"]
            record = stride.run(words).record
        values.append(record["scores"][score])
        seconds.append(sum(value for value in record["seconds"].values() if value))
    return score, values, seconds


def claimed(name: str) -> tuple[str, float, float]:
    """Score, mean and standard deviation as the recipe states them."""
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    found = re.search(r"->\s+(\S+) ([\d.]+) ± ([\d.]+)", text)
    if not found:
        raise ValueError(f"{name}.yaml claims nothing")
    return found[1], float(found[2]), float(found[3])


def main(names: list[str]) -> None:
    lines = []
    for name in names or sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none"):
        score, values, seconds = measure(name)
        reached = f"{score} {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
        cost = f"seeds 0-{len(values) - 1}, {statistics.median(seconds):.0f} s each, {os.cpu_count()} CPU cores"
        lines.append(f"# python train.py experiment={name}   ->   {reached} ({cost}, {datetime.date.today()})")
        print(f"{name}: {', '.join(f'{value:.4f}' for value in values)}", file=sys.stderr)
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
