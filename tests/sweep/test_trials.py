"""One trial's process: how its folder is named on its line, and how it is stopped."""

import signal
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from stride.sweep import trials


@pytest.mark.parametrize("path", ["/runs/a-1.b_2", "/my runs/a", "/it's/a=b,c", "/a[1]{2}(3)", "/a\\b", "/schön"])
def test_any_path_is_the_same_on_the_other_side_of_the_line(path):
    word = f"output_root={trials._quoted(Path(path))}"
    assert OverridesParser.create().parse_override(word).value() == path


def test_a_trial_that_will_not_stop_is_killed_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "PATIENCE", 0.2)
    stubborn = f"trap '' INT; (sleep 1; touch '{tmp_path}/late') & touch '{tmp_path}/began'; wait; wait"
    trial = trials.start(["bash", "-c", stubborn], [], 0, tmp_path, None)
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    trials.stop([trial], signal.SIGINT)
    assert trial.process.returncode == -signal.SIGKILL
    time.sleep(1)
    assert not (tmp_path / "late").exists()
