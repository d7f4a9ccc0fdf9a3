"""The output root and the temporary folder: room, locks, renames, syncs; and each of them broken."""

import fcntl
import shutil
import tempfile
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import pytest

from stride.doctor import storage
from stride.doctor.row import Mark
from stride.doctor.scratch import scratch

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def found(tmp_path):
    """`found(output_root)` is the rows by their names."""

    def ask(output_root=tmp_path):
        with scratch() as folder:
            return {row.name: row for row in storage.rows(output_root, folder)}

    return ask


def test_a_good_folder_is_ok_and_nothing_is_left_in_it(found, tmp_path):
    rows = found()
    assert [row.mark for row in rows.values()] == [Mark.OK] * 3
    assert rows["saving"].found.startswith("locks hold, renames are whole, an fsync takes ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_yet_is_not_made(found, tmp_path):
    assert found(tmp_path / "runs" / "deep")["output root"].mark is Mark.OK
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("free", "mark", "told"),
    [
        (96e9, Mark.OK, "96 GB free, room for 2 billion weights"),
        (480e6, Mark.LOOK, "0.48 GB free, room for 10 million weights"),
        (19e6, Mark.WRONG, "0.019 GB free"),
    ],
)
def test_free_space_is_told_as_the_largest_model_that_can_be_saved(found, monkeypatch, free, mark, told):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1e12, 0, free))
    rows = found()
    assert rows["output root"].mark is mark
    assert told in rows["output root"].found
    assert rows["temporary"].stops == (mark is Mark.WRONG)


def test_a_file_in_the_place_of_the_folder_is_wrong(found, tmp_path):
    (tmp_path / "runs").write_text("")
    row = found(tmp_path / "runs")["output root"]
    assert (row.mark, row.cause) == (Mark.WRONG, f"Not a directory: {tmp_path / 'runs'}")


def test_a_file_system_without_locks_is_worth_a_look(found, monkeypatch):
    def no_locks(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    row = found()["saving"]
    assert row.mark is Mark.LOOK
    assert row.found.startswith("no locks, ")


def test_locks_that_do_not_hold_are_no_locks(found, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
    assert found()["saving"].found.startswith("no locks, ")


def test_a_rename_that_is_not_whole_is_wrong(found, monkeypatch):
    @contextmanager
    def in_place(path):
        with path.open("r+") as file:
            yield file

    monkeypatch.setattr(storage, "replaced", in_place)
    row = found()["saving"]
    assert (row.mark, "renames are not whole" in row.found) == (Mark.WRONG, True)


def test_a_slow_disk_is_worth_a_look(found, monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(storage.time, "perf_counter", lambda: next(now))
    row = found()["saving"]
    assert row.mark is Mark.LOOK
    assert "an fsync takes 1000 ms" in row.found
    assert "checkpoint_last.every" in row.attempt


def test_without_a_temporary_folder_nothing_is_trained(tmp_path):
    (_, _, row) = storage.rows(tmp_path, None)
    assert (row.name, row.mark, row.stops) == ("temporary", Mark.WRONG, True)


def test_a_typed_temporary_folder_that_cannot_be_used_is_told(found, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    row = found()["temporary"]
    assert (row.mark, row.cause) == (Mark.LOOK, f"TMPDIR={tmp_path / 'nowhere'} cannot be written to")


def test_what_is_written_meanwhile_is_gone_afterwards():
    before = tempfile.gettempdir()
    with scratch() as folder:
        assert folder is not None
        assert Path(tempfile.gettempdir()).samefile(folder)
        (folder / "left").write_text("")
    assert tempfile.gettempdir() == before
    assert not folder.exists()
