"""A checkpoint on disk is whole, or known as damaged: real files, cut and flipped at random; a disk that is full."""

import os
import random
import resource
import subprocess
import sys
import zipfile

import pytest
import torch

from stride import checkpoint_file
from stride.checkpoint_file import Damaged
from stride.errors import StorageError
from stride.whole_file import remove_leftovers

STATE = {"global_step": 7, "state_dict": {"weight": torch.arange(3000.0)}, "callbacks": {}}


def written(path, step=7, state=STATE):
    checkpoint_file.write(path, step, lambda file: torch.save(state, file))
    return path


def test_a_sealed_file_is_read_by_torch_and_tells_its_step(tmp_path):
    path = written(tmp_path / "last.ckpt", step=1234567)
    assert checkpoint_file.verify(path) == 1234567
    for mmap in (False, True):
        assert torch.load(path, weights_only=True, mmap=mmap)["state_dict"]["weight"].equal(torch.arange(3000.0))
    assert zipfile.ZipFile(path).testzip() is None
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("sizes", [[10] * 500, [10, 2_000_000, 10, 10], [800_000] * 4, [2_000_000] * 2], ids=str)
def test_pieces_of_every_size_are_written_in_order(tmp_path, sizes):
    tensors = [torch.full((size,), float(number)) for number, size in enumerate(sizes)]
    path = written(tmp_path / "last.ckpt", state={"tensors": tensors})
    assert checkpoint_file.verify(path) == 7
    read = torch.load(path, weights_only=True)["tensors"]
    assert all(one.equal(other) for one, other in zip(read, tensors, strict=True))


def cut(content, draw):
    return content[: draw.randrange(len(content))]


def flipped(content, draw):
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped])
def test_each_of_50_damaged_files_is_found_named_and_passed_over(tmp_path, damage):
    draw = random.Random(0)
    path, before = written(tmp_path / "last.ckpt", step=20), written(tmp_path / "last-2.ckpt", step=10)
    content, found = path.read_bytes(), 0
    for _ in range(50):
        path.write_bytes(damage(content, draw))
        newest, damaged = checkpoint_file.newest(tmp_path)
        found += newest == before and list(damaged) == [path]
    assert found == 50


@pytest.mark.parametrize("place", [1, 75, 97, 118], ids=["digest", "step", "length", "end record"])
def test_an_altered_seal_is_no_seal_and_no_unsealed_file_either(tmp_path, place):
    path = written(tmp_path / "last.ckpt")
    content = bytearray(path.read_bytes())
    content[-place] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged):
        checkpoint_file.verify(path)


def test_torch_alone_does_not_see_a_flipped_byte(tmp_path):
    """Else all of this would be for nothing."""
    path = tmp_path / "plain.ckpt"
    torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not torch.load(path, weights_only=True)["state_dict"]["weight"].equal(torch.arange(3000.0))
    with pytest.raises(Damaged, match="altered"):
        checkpoint_file.verify(path)


def test_a_whole_file_that_nobody_sealed_is_taken_as_it_is(tmp_path):
    torch.save(STATE, tmp_path / "last.ckpt")
    assert checkpoint_file.verify(tmp_path / "last.ckpt") is None
    assert checkpoint_file.newest(tmp_path) == (tmp_path / "last.ckpt", {})


@pytest.mark.parametrize("content", [b"", b"P", b"not a checkpoint"])
def test_what_is_no_archive_of_torch_is_damaged(tmp_path, content):
    (tmp_path / "last.ckpt").write_bytes(content)
    assert checkpoint_file.newest(tmp_path)[0] is None


def test_the_newest_is_that_of_the_most_steps_whatever_the_clock_says(tmp_path):
    for name, step, clock in (("best", 300, 0), ("last", 200, 2e9), ("last-2", 100, 3e9)):
        os.utime(written(tmp_path / f"{name}.ckpt", step=step), (clock, clock))
    assert checkpoint_file.newest(tmp_path)[0] == tmp_path / "best.ckpt"
    written(tmp_path / "last.ckpt", step=300)
    assert checkpoint_file.newest(tmp_path)[0] == tmp_path / "last.ckpt"


def test_a_full_disk_keeps_what_was_there_and_says_how_much_is_lacking(tmp_path):
    path = written(tmp_path / "last.ckpt", step=1)
    before = path.read_bytes()
    large = {**STATE, "state_dict": {"weight": torch.zeros(1_000_000)}}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(StorageError) as full:
            written(path, state=large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in str(full.value)
    assert "4 MB needed" in str(full.value)
    assert "MB free; the one before it is kept" in str(full.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/deeper/last.ckpt cannot be written: Not a directory"):
        written(tmp_path / "file" / "deeper" / "last.ckpt")


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from stride import checkpoint_file
path, share = Path(sys.argv[1]), float(sys.argv[2])
state = {"weight": torch.ones(100_000)}
checkpoint_file.write(path, 1, lambda file: torch.save(state, file))
written, plain = 0, checkpoint_file._Hashing.write
def write(self, data):
    global written
    if share < 1 and written + len(data) > share * path.stat().st_size:
        plain(self, data[: int(share * path.stat().st_size - written)])
        self.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    written += len(data)
    return plain(self, data)
checkpoint_file._Hashing.write = write
if share == 1:
    checkpoint_file.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
checkpoint_file.write(path, 2, lambda file: torch.save({"weight": torch.zeros(100_000)}, file))
"""


SLOW = pytest.mark.slow


@pytest.mark.parametrize("share", ["0.5", pytest.param("0.1", marks=SLOW), pytest.param("1", marks=SLOW)])
def test_a_kill_while_it_is_written_leaves_the_old_one_and_no_more_after_the_next_start(tmp_path, share):
    path = tmp_path / "last.ckpt"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), share], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoint_file.newest(tmp_path) == (path, {})
    assert torch.load(path, weights_only=True)["weight"].equal(torch.ones(100_000))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
