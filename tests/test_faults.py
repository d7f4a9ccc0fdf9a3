"""What can go wrong around a run, done to real processes, and to Lightning by itself, which shows that it is seen.

Kills at any moment are in test_killed_runs.py, signals in test_signals.py, those to a sweep in sweep/test_kills.py and
sweep/test_storage.py, 50 truncations and 50 flipped bits of a checkpoint in test_checkpoint_file.py. Of data files
there is nothing to break: the tables are inside scikit-learn, and whatever bytes a text has, they are its text.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from real_runs import PLAIN, SMALL, TRAIN, sha_of, sha_of_plain

from stride import checkpoint_file

SLOW = pytest.mark.slow


def own(workers):
    """An ordinary DataLoader, which random processes augment."""
    return ["datamodule._target_=own_loader.Wine", f"+datamodule.num_workers={workers}"]


OWN = own(2)


@pytest.fixture(scope="module")
def whole(runs):
    return sha_of(runs.undisturbed(*SMALL))


@pytest.fixture(scope="module")
def whole_of_own_data(runs):
    return sha_of(runs.undisturbed(*SMALL, *OWN))


@pytest.fixture(scope="module")
def plain(runs):
    assert runs.plain(str(runs.folder / "plain")).code == 0
    return sha_of_plain(runs.folder / "plain")


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def the_line(text):
    """The one line of it. Nobody who typed a line is shown how the program is built."""
    (line,) = text.splitlines()
    return line


# --- a disk that is full ---------------------------------------------------------------------------------------------


def stops_until_there_is_room(runs, whole, root, fault, make_room=lambda: None):
    line = [*SMALL, "name=full", f"output_root={root}"]
    ended, folder = runs(line, fault), root / "full"
    assert ended.code == 5
    said = the_line(ended.err)
    assert said.startswith(f"error: output_root: {folder / 'checkpoints'}")
    assert " MB needed, " in said and " MB free; the one before it is kept" in said
    assert checkpoint_file.newest(folder / "checkpoints")[1] == {}
    assert list(folder.rglob("*.part")) == []
    make_room()
    assert runs(line).code == 0
    assert sha_of(folder) == whole


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB. Only root may mount one, and not everywhere."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    with contextlib.suppress(OSError):
        if subprocess.run(command, capture_output=True).returncode == 0:
            yield tmp_path
            subprocess.run(["umount", str(tmp_path)], check=True)
            return
    pytest.skip("no file system may be mounted here")


def test_where_no_file_may_grow_a_run_stops_with_what_it_has_and_goes_on_later(runs, whole, tmp_path):
    stops_until_there_is_room(runs, whole, tmp_path, ("no_room", [3, 8000]))


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 12288], ids=["not a byte", "less than a checkpoint"])
def test_on_a_full_disk_a_run_stops_with_what_it_has_and_goes_on_later(runs, whole, small_disk, left):
    filler = small_disk / "filler"
    stops_until_there_is_room(runs, whole, small_disk, ("filled", [3, str(filler), left]), filler.unlink)


@pytest.mark.slow
def test_lightning_by_itself_loses_its_checkpoint_to_a_full_disk(runs, small_disk):
    folder, filler = small_disk / "plain", small_disk / "filler"
    second_last = 4  # as in test_killed_runs.py
    assert runs.plain(str(folder), fault=("filled_in_a_copy", [second_last, str(filler)])).code == 1
    filler.unlink()
    assert runs.plain(str(folder)).code == 1


# --- a batch that is not a number ------------------------------------------------------------------------------------


def is_finite(checkpoint):
    saved = torch.load(checkpoint, weights_only=True)
    states = [state for each in saved["optimizer_states"] for state in each["state"].values()]
    tensors = [value for node in (saved["state_dict"], *states) for value in node.values() if torch.is_tensor(value)]
    return all(value.isfinite().all() for value in tensors)


def test_a_batch_that_is_not_a_number_ends_the_run_and_reaches_no_checkpoint(runs, tmp_path):
    ended = runs([*SMALL, *OWN, "name=nan"], ("spoiled", ["is not a number", str(tmp_path / "loaded")]))
    assert ended.code == 4
    assert record_of(runs.folder / "nan")["status"] == "diverged"
    kept = list((runs.folder / "nan" / "checkpoints").glob("*.ckpt"))
    assert kept and all(map(is_finite, kept))


@pytest.mark.slow
def test_lightning_by_itself_keeps_what_is_not_a_number(runs, tmp_path):
    folder = runs.folder / "plain-nan"
    assert runs.plain(str(folder), fault=("spoiled", ["is not a number", str(tmp_path / "loaded")])).code == 0
    assert not is_finite(folder / "last.ckpt")


# --- a process that loads data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("is killed", r"DataLoader worker \(pid|ConnectionResetError"),
        pytest.param("raises", "sample 60 cannot be read", marks=SLOW),
    ],
)
def test_after_a_loader_that_fails_the_same_line_ends_to_the_bit(runs, whole_of_own_data, tmp_path, how, said):
    folder = runs.folder / how.replace(" ", "-")
    line = [*SMALL, *OWN, f"name={folder.name}"]
    ended = runs(line, ("spoiled", [how, str(tmp_path / "loaded")]))
    assert (ended.code, record_of(folder)["status"]) == (1, "failed")
    assert re.search(said, ended.err)  # torch notices it first, or the pipe does
    newest, damaged = checkpoint_file.newest(folder / "checkpoints")
    assert newest is not None and damaged == {}
    assert runs(line).code == 0
    assert sha_of(folder) == whole_of_own_data


@pytest.mark.slow
def test_lightning_by_itself_ends_otherwise_after_a_loader_that_fails(runs, plain, tmp_path):
    folder = runs.folder / "plain-loader"
    fault = ("spoiled", ["is killed", str(tmp_path / "loaded")])
    assert runs.plain(str(folder), "2", fault=fault).code == 1
    assert runs.plain(str(folder), "2").code == 0
    assert sha_of_plain(folder) != plain


# --- two processes, one folder ---------------------------------------------------------------------------------------


def test_the_second_process_of_a_folder_is_told_of_the_first_which_is_not_disturbed(runs, whole, tmp_path):
    line, sign = [*SMALL, "name=shared"], tmp_path / "sign"
    with ThreadPoolExecutor() as beside:
        first = beside.submit(runs, line, ("waits_at", [10, str(sign)]))
        while not sign.with_suffix(".waits").exists() and not first.done():
            time.sleep(0.01)
        command = [sys.executable, str(TRAIN), *line, f"output_root={runs.folder}"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        owner = (runs.folder / "shared" / "lock").read_text().strip()
        sign.touch()
    assert second.returncode == 2
    assert f"is being written by {owner}; " in the_line(second.stderr)
    assert owner.startswith("process ") and owner.endswith(f" on {socket.gethostname()}")
    assert first.result().code == 0
    assert sha_of(runs.folder / "shared") == whole


@pytest.mark.parametrize("loaders", [0, pytest.param(2, marks=SLOW)])
def test_a_killed_process_leaves_no_lock_though_its_loaders_live_on(runs, whole_of_own_data, loaders):
    folder = runs.folder / f"orphans-{loaders}"
    assert runs([*SMALL, *OWN, f"name={folder.name}"], ("killed_at", [10])).code == -9
    assert (folder / "lock").exists()  # it names a process that is gone
    assert runs([*SMALL, *own(loaders), f"name={folder.name}"]).code == 0
    assert sha_of(folder) == whole_of_own_data


@pytest.mark.slow
def test_two_processes_of_lightning_by_itself_write_into_one_folder(runs, tmp_path):
    folder, sign = runs.folder / "plain-shared", tmp_path / "sign"
    with ThreadPoolExecutor() as beside:
        first = beside.submit(runs.plain, str(folder), fault=("waits_at", [10, str(sign)]))
        while not sign.with_suffix(".waits").exists() and not first.done():
            time.sleep(0.01)
        command = [sys.executable, str(PLAIN), str(folder)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        sign.touch()
    assert went_on_from(second.stderr) == folder / "last.ckpt"  # of the first, which still writes it
    assert (first.result().code, second.returncode) == (0, 0)


# --- a run that was stopped, and what it finds when it goes on -------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(runs):
    """The folder of a run that was killed after 17 steps; the newest of its checkpoints is of step 16."""
    assert runs([*SMALL, "name=stopped"], ("killed_at", [17])).code == -9
    return runs.folder / "stopped"


@pytest.fixture(scope="module")
def plain_stopped(runs):
    """The same of Lightning by itself, killed after 10 steps; its last.ckpt is of step 9."""
    folder = runs.folder / "plain-stopped"
    assert runs.plain(str(folder), fault=("killed_at", [10])).code == -9
    return folder


def flipped(path):
    """One bit of it, in the weights, where it makes the most of itself."""
    weight = max(torch.load(path, weights_only=True)["state_dict"].values(), key=torch.numel)
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes()) + 2] ^= 1 << 6
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flipped, pytest.param(cut, marks=SLOW)])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_leads_to_the_same_end(runs, whole, stopped, damage):
    folder = shutil.copytree(stopped, stopped.with_name(damage.__name__))
    newest, _ = checkpoint_file.newest(folder / "checkpoints")
    damage(newest)
    before, _ = checkpoint_file.newest(folder / "checkpoints")
    goes_on = f"the run goes on from {before}, step {checkpoint_file.verify(before)}"
    ended = runs([*SMALL, f"name={folder.name}"])
    assert ended.code == 0
    (note,) = (line for line in ended.out.splitlines() if line.startswith("note: "))
    assert note.startswith(f"note: {newest} is damaged: ") and note.endswith(goes_on)
    assert sha_of(folder) == whole


@pytest.mark.slow
def test_lightning_by_itself_goes_on_from_a_damaged_checkpoint_in_silence_or_not_at_all(runs, plain_stopped):
    folders = [shutil.copytree(plain_stopped, plain_stopped.with_name(f"plain-{how}")) for how in "012"]
    flipped(folders[1] / "last.ckpt")
    cut(folders[2] / "last.ckpt")
    assert [runs.plain(str(folder)).code for folder in folders] == [0, 0, 1]
    assert sha_of_plain(folders[0]) != sha_of_plain(folders[1])


def went_on_from(text):
    """The checkpoint that Lightning says it has read."""
    (path,) = re.findall(r"Restored all states from the checkpoint at (.+)", text)
    return Path(path)


def set_clocks(newest, older):
    os.utime(newest, (0, 0))  # 1970
    os.utime(older, (2**31 - 1, 2**31 - 1))  # 2038


def test_a_run_goes_on_from_the_most_steps_whatever_the_clock_says(runs, whole, stopped):
    folder = shutil.copytree(stopped, stopped.with_name("clock"))
    newest, _ = checkpoint_file.newest(folder / "checkpoints")
    set_clocks(newest, folder / "checkpoints" / "last-2.ckpt")
    (folder / "train.log").unlink()
    assert runs([*SMALL, "name=clock"]).code == 0
    assert went_on_from((folder / "train.log").read_text()) == newest
    assert sha_of(folder) == whole


@pytest.mark.slow
def test_lightning_by_itself_believes_the_clock(runs, plain_stopped):
    folder, older = (plain_stopped.with_name(name) for name in ("plain-clock", "plain-older"))
    assert runs.plain(str(older), fault=("killed_at", [7])).code == -9
    shutil.copytree(plain_stopped, folder)
    shutil.copy(older / "last.ckpt", folder / "last-v1.ckpt")
    set_clocks(folder / "last.ckpt", folder / "last-v1.ckpt")
    assert went_on_from(runs.plain(str(folder)).err) == folder / "last-v1.ckpt"


def test_a_run_that_was_moved_goes_on_to_the_bit_from_any_folder_and_with_any_temporary_one(
    runs, whole, stopped, tmp_path
):
    (tmp_path / "temporary").mkdir()
    folder = shutil.copytree(stopped, tmp_path / "elsewhere" / "moved")
    line = [*SMALL, "name=moved", f"output_root={folder.parent}"]
    ended = runs(line, cwd=tmp_path, environment={"TMPDIR": str(tmp_path / "temporary")})
    assert ended.code == 0, ended.err
    assert sha_of(folder) == whole


@pytest.mark.slow
def test_lightning_by_itself_forgets_the_best_of_a_run_that_was_moved(runs, plain_stopped, tmp_path):
    ended = runs.plain(str(shutil.copytree(plain_stopped, tmp_path / "moved")))
    assert re.search("dirpath has changed .* `best_model_score`, .* won't be reloaded", ended.err)


def test_a_run_that_goes_on_with_other_threads_says_that_its_last_bits_may_differ(runs, stopped, tmp_path):
    line = [*SMALL, f"name={shutil.copytree(stopped, tmp_path / 'other-threads').name}", f"output_root={tmp_path}"]
    ended = runs(line, ("threads", [2]))
    assert ended.code == 0, ended.err
    why = f"begun with 1 thread and torch {torch.__version__}, gone on with 2 threads and torch {torch.__version__}"
    assert f"note: resume is approximate: {why}\n" in ended.out
    assert record_of(tmp_path / "other-threads")["resume"] == f"approximate: {why}"


def test_where_no_gpu_can_be_seen_a_run_takes_the_cpu(runs):
    assert record_of(runs.undisturbed(*SMALL))["device"] == "cpu"


# --- a logger that cannot write --------------------------------------------------------------------------------------


def test_a_logger_that_cannot_write_is_told_once_and_disturbs_nothing_else(runs):
    folder = runs.folder / "mute"
    ended = runs([*SMALL, "name=mute"], ("in_the_way", [["tensorboard"], ["metrics.csv", "train.log"]]))
    assert (ended.code, ended.err) == (0, "")
    notes = [line for line in ended.out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert any("TensorBoardLogger stopped logging, and the run goes on: " in note for note in notes)
    assert any("metrics.csv cannot be written: Is a directory; the run goes on" in note for note in notes)
    assert record_of(folder)["status"] == "finished"
    tables = ("lr_trace.csv",)
    assert sha_of(folder, tables=tables) == sha_of(runs.undisturbed(*SMALL), tables=tables)


def test_rows_that_could_not_be_written_are_written_once_they_can_be(runs, whole):
    folder = runs.folder / "mute-for-a-while"
    ended = runs([*SMALL, f"name={folder.name}"], ("in_the_way_for_a_while", [str(folder / "metrics.csv"), 5, 9]))
    assert ended.code == 0
    assert ended.out.count("note: ") == 1
    assert sha_of(folder) == whole


@pytest.mark.slow
def test_lightning_by_itself_does_not_train_where_its_logger_cannot_write(runs, tmp_path):
    (tmp_path / "tensorboard").touch()
    assert runs.plain(str(runs.folder / "plain-mute"), "0", str(tmp_path)).code == 1
