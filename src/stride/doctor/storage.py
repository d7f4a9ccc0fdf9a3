"""Where runs are kept, and where temporary files go: is there room, and does the file system keep its word."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from stride.doctor.row import Mark, Row
from stride.report.card import shown_path
from stride.whole_file import replaced

# A run keeps best.ckpt, last.ckpt and last-2.ckpt, and writes one beside them: of each weight itself and two moments
# of Adam, in float32.
BYTES_A_WEIGHT = 4 * 3 * 4
LITTLE, TOO_LITTLE = 1e9, 20e6  # bytes
ANOTHER_PLACE = "export TMPDIR=FOLDER"
SLOW = 0.2  # seconds an fsync
SYNCS, SYNCED = 5, 1_000_000  # how many, of how many bytes


def rows(output_root: Path, scratch: Path | None) -> Iterator[Row]:
    """The output root, how files are saved in it, and the temporary folder, which `scratch` is a folder of."""
    there = next(folder for folder in (output_root, *output_root.parents) if folder.exists())
    shown = shown_path(output_root)
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".doctor-") as folder:
            yield _room("output root", str(shown), shutil.disk_usage(folder).free)
            yield _saving(Path(folder))
    except OSError as error:
        what = f"{shown} cannot be written"
        yield Row("output root", what, Mark.WRONG, f"{error.strerror}: {there}", "python train.py output_root=FOLDER")
    yield _temporary(scratch, there)


def _room(name: str, shown: str, free: int) -> Row:
    weights = free / BYTES_A_WEIGHT
    found = f"{shown}: {free / 1e9:.3g} GB free, room for {_count(weights)} weights (Adam)"
    if free >= LITTLE:
        return Row(name, found)
    cause = f"{free / 1e6:.3g} MB are free, and a run keeps three checkpoints and writes a fourth"
    return Row(name, found, Mark.LOOK if free >= TOO_LITTLE else Mark.WRONG, cause, f"du -sh {shown}/*")


def _count(number: float) -> str:
    unit, name = (1e9, "billion") if number >= 1e9 else (1e6, "million")
    return f"{number / unit:.3g} {name}"


def _saving(folder: Path) -> Row:
    """Locks, renames and syncs, as runs and checkpoints use them."""
    seconds = median(_seconds_of_a_sync(folder / "synced") for _ in range(SYNCS))
    locks, renames = _locks_hold(folder / "lock"), _renames_are_whole(folder / "file")
    found = f"{'locks hold' if locks else 'no locks'}, {'renames are whole' if renames else 'renames are not whole'}"
    found += f", an fsync takes {1000 * seconds:.{1 if seconds < 0.01 else 0}f} ms"
    if not renames:
        cause = "a checkpoint that is replaced while it is read is lost: use another file system"
        return Row("saving", found, Mark.WRONG, cause, "python train.py output_root=FOLDER")
    if not locks:
        cause = "two runs in one folder would not notice one another: give each its own name"
        return Row("saving", found, Mark.LOOK, cause, "python train.py name=NAME")
    if seconds > SLOW:
        cause = "every checkpoint waits for the disk: save less often"
        return Row("saving", found, Mark.LOOK, cause, "python train.py callbacks.checkpoint_last.every='10 minutes'")
    return Row("saving", found)


def _locks_hold(path: Path) -> bool:
    """Whether a file that is locked cannot be locked again."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    with path.open("w") as first, path.open("w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _renames_are_whole(path: Path) -> bool:
    """Whether who has a replaced file open goes on with the old one, and who opens it then has the new one."""
    old, new = "old" * 10_000, "new" * 10_000
    path.write_text(old)
    with path.open() as reader:
        begun = reader.read(3)
        with replaced(path) as file:
            file.write(new)
        return begun + reader.read() == old and path.read_text() == new


def _seconds_of_a_sync(path: Path) -> float:
    with path.open("wb") as file:
        file.write(bytes(SYNCED))
        file.flush()
        began = time.perf_counter()
        os.fsync(file.fileno())
        return time.perf_counter() - began


def _temporary(scratch: Path | None, output_root: Path) -> Row:
    if scratch is None:
        cause = "there is no folder that temporary files can be written to"
        return Row("temporary", "none", Mark.WRONG, cause, ANOTHER_PLACE, stops=True)
    asked = os.environ.get("TMPDIR")
    free = shutil.disk_usage(scratch).free
    same = scratch.stat().st_dev == output_root.stat().st_dev
    where = "on the same file system" if same else "another file system, which no checkpoint goes through"
    found = f"{scratch.parent}: {free / 1e9:.3g} GB free, {where}"
    if free < TOO_LITTLE:
        return Row("temporary", found, Mark.WRONG, f"{free / 1e6:.3g} MB are free", ANOTHER_PLACE, stops=True)
    if asked and Path(asked).resolve() != scratch.parent:
        return Row("temporary", found, Mark.LOOK, f"TMPDIR={asked} cannot be written to", ANOTHER_PLACE)
    return Row("temporary", found)
