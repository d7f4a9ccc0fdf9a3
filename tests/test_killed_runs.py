"""kill -9 at any moment, the same line again, and the run ends as if nothing had been: real processes, real kills."""

import json
import random
import tempfile
from pathlib import Path

import pytest
from real_runs import INTERVAL, SMALL, sha_of, sha_of_plain

from stride import checkpoint_file


@pytest.fixture(scope="module")
def elsewhere(runs):
    """A system whose temporary folder is on another file system than its runs, as on many clusters."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == runs.folder.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield {"TMPDIR": folder}


@pytest.fixture(scope="module")
def whole(runs):
    """A run that nothing happens to: its SHA-256, and how many calls of each kind it makes."""
    told = runs.folder / "calls"
    assert runs([*SMALL, "name=whole"], ("counted", [str(told)])).code == 0
    return sha_of(runs.folder / "whole"), json.loads(told.read_text())


class Killed:
    """A line that is killed at a moment, once or more, and typed again until it is done."""

    def __init__(self, runs, name, elsewhere):
        self.runs, self.folder, self.elsewhere = runs, runs.folder / name, elsewhere
        self.line = [*SMALL, f"name={name}"]
        self.kills, self.lost, self.said = 0, 0, ""  # steps that no checkpoint held, at most; what was wrong

    def start(self, *moment):
        told = self.runs.folder / "told"
        ended = self.runs(self.line, ("killed", [*moment, str(told)]), environment=self.elsewhere)
        if ended.code == -9:
            newest, damaged = checkpoint_file.newest(self.folder / "checkpoints")
            held = checkpoint_file.verify(newest) if newest else 0
            self.kills += 1
            self.lost = max(self.lost, json.loads(told.read_text()) - held)
            self.said += "".join(map(str, damaged))

    def finish(self):
        ended = self.runs(self.line)
        is_done = ended.code == 0 or "is finished" in ended.err  # it was killed after it had written that
        self.said += "" if is_done else ended.err

    def is_as_if_nothing_had_been(self, sha):
        left = list(self.folder.rglob("*.part"))
        return not self.said and not left and self.lost <= INTERVAL and sha_of(self.folder) == sha


def moments_of_failure(runs, elsewhere, whole, kinds):
    """The moments of kills, one of each kind, after which a run does not end as if nothing had been.

    Every third run is killed once more while it goes on.
    """
    draw, found, kills = random.Random(0), [], 0
    sha, calls = whole
    for number, kind in enumerate(kinds):
        run = Killed(runs, f"killed-{number}", elsewhere)
        moments = [(kind, draw.randrange(1, int(0.99 * calls[kind])))]
        moments += [("fit", draw.randrange(1, calls["fit"] // 2))] if number % 3 == 0 else []
        for moment in moments:
            run.start(*moment)
        kills += min(1, run.kills)
        run.finish()
        if not run.is_as_if_nothing_had_been(sha):
            found.append((number, moments, run.lost, run.said))
    assert kills == len(kinds)  # none missed its run
    return found


def test_after_a_kill_at_any_moment_the_same_line_ends_to_the_bit(runs, elsewhere, whole):
    kinds = ["any", "fit", "fit", "save", "save", "changes"]
    assert moments_of_failure(runs, elsewhere, whole, kinds) == []


@pytest.mark.slow
def test_after_each_of_100_kills_the_same_line_ends_to_the_bit(runs, elsewhere, whole):
    kinds = [*["any"] * 20, *["fit"] * 30, *["save"] * 30, *["changes"] * 20]
    assert moments_of_failure(runs, elsewhere, whole, kinds) == []


@pytest.mark.slow
def test_lightning_by_itself_does_not_end_as_if_it_had_not_been_killed(runs):
    folders = [runs.folder / f"plain-{number}" for number in range(3)]
    for folder, step in zip(folders, (None, None, 10), strict=True):
        if step is not None:
            assert runs.plain(str(folder), fault=("killed_at", [step])).code == -9
        assert runs.plain(str(folder)).code == 0
    whole, again, killed = map(sha_of_plain, folders)
    assert whole == again  # it is the kill
    assert killed != whole


@pytest.mark.slow
def test_lightning_by_itself_loses_its_checkpoint_to_a_kill_in_a_save(runs, elsewhere):
    folder = runs.folder / "plain-save"
    second_last = 4  # of the files that it copies: one by its step and last.ckpt, every three steps
    assert runs.plain(str(folder), fault=("killed_in_a_copy", [second_last]), environment=elsewhere).code == -9
    assert runs.plain(str(folder)).code == 1
