"""Never lost: real trials, real kills of them and of their driver, the same line again, and the count is exact."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRIALS, OF_TRIALS, OF_DRIVERS = 160, 8, 2
LINE = (
    *("-m", "sweep=random", f"sweep.trials={TRIALS}", "sweep.jobs=4", "optimizer.lr=tag(log,interval(1e-4,1e-1))"),
    *("model=mlp", "logger=none", "callbacks=none", "trainer.max_epochs=1", "trainer.limit_train_batches=4"),
    *("name=kills", "test=false"),
)


def running(logs):
    """Process numbers of the trials that run now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "fd" / "1").readlink()).startswith(str(logs)):
                found.append(int(process.name))
    return found


def ended(folder):
    return sum(json.loads(path.read_text())["status"] == "finished" for path in folder.glob("[0-9]*/run.json"))


@pytest.mark.slow
def test_160_trials_with_8_kills_of_trials_and_2_of_the_driver_are_160_trials(tmp_path):
    draw = random.Random(0)
    folder = tmp_path / "kills"
    kills = sorted(draw.sample(range(8, TRIALS - 16), OF_TRIALS + OF_DRIVERS))
    of_the_driver = set(draw.sample(kills, OF_DRIVERS))
    command = [sys.executable, str(ROOT / "train.py"), *LINE, f"output_root={tmp_path}"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for at in kills:
        while ended(folder) < at:
            assert driver.poll() is None
            time.sleep(0.05)
        if at in of_the_driver:
            driver.kill()
            driver.wait()
            driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            continue
        while not (alive := running(folder / "logs")):
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(alive), signal.SIGKILL)
    assert driver.wait() == 0
    report = json.loads((folder / "sweep.json").read_text())
    assert report["status"] == "finished"
    assert Counter(row["status"] for row in report["rows"]) == {"finished": TRIALS}
    assert sorted(int(row["name"]) for row in report["rows"]) == list(range(TRIALS))
    assert len({row["words"]["optimizer.lr"] for row in report["rows"]}) == TRIALS
    assert sorted(path.parent.name for path in folder.glob("*/run.json")) == sorted(map(str, range(TRIALS)))
    journal = (folder / "study.journal").read_text()
    told = Counter(re.findall(r'"trial_id":(\d+),"user_attr":\{"result"', journal))
    assert sorted(told.values()) == [1] * TRIALS  # none twice
    again = max(json.loads(line)["user_attr"]["attempt"] for line in journal.splitlines() if '"attempt"' in line)
    assert again > 1  # the kills hit something
    assert not running(folder / "logs")
