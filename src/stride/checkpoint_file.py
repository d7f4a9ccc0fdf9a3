"""A checkpoint as a file: written whole or not at all, and sealed, so that a damaged one is known.

The seal is the comment of the zip archive that torch writes: the optimizer steps behind the checkpoint, and the SHA-256
of the archive and of these. It needs no second file that could be lost or out of step, and readers of zip archives
pass over it.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from stride.errors import NO_ROOM, ConfigError, Fault, StorageError, one_line
from stride.whole_file import replaced

SUFFIX = ".ckpt"
_SEAL = re.compile(rb"sealed step=(\d{12}) sha256=([0-9a-f]{64})")
_LENGTH = len(b"sealed step= sha256=") + 12 + 64
TOGETHER = 1 << 22  # bytes that are written at once, at most, unless they come at once
_END, _END_LENGTH = b"PK\x05\x06", 22  # a zip archive's last record, which ends in the comment and its length


class Damaged(Exception):
    """A file is not what was once written to it; the text says what is wrong, the path is not in it."""


def write(path: Path, step: int, dump: Callable[[Any], None]) -> None:
    """Write a sealed checkpoint so that at every moment there is the old file or the new one, whole and on the disk.

    Args:
        path: the old file, if any, is replaced; it is on the same file system as what is written meanwhile.
        step: the optimizer steps behind it.
        dump: `dump(file)` writes a zip archive without a comment, as torch.save does.

    Raises StorageError where that cannot be; what was there before stays.
    """
    file = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path, "wb") as raw:
            file = _Hashing(raw)
            dump(file)
            digest = file.sealed(step)
            raw.seek(-2, os.SEEK_END)
            raw.write(struct.pack("<H", _LENGTH) + b"sealed step=%012d sha256=%s" % (step, digest))
    except Exception as error:
        cause = error if isinstance(error, OSError) else file and file.error
        if cause is None:
            raise
        raise StorageError(_told(path, cause, dump)) from error


def verify(path: Path) -> int | None:
    """Read all of a file. Returns the step of its seal; None for a whole archive that nobody has sealed.

    Raises Damaged, and OSError where it cannot be read.
    """
    status = path.stat()
    return _verified(path, status.st_ino, status.st_size, status.st_mtime_ns)


def refuse_damaged(path: Path, key: str, attempt: str = "") -> None:
    """Raises ConfigError, which names `key`, for a file that is not whole."""
    try:
        verify(path)
    except (Damaged, OSError) as error:
        raise ConfigError(Fault(key, f"{path} is no whole checkpoint", one_line(error), attempt)) from error


def newest(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """The whole checkpoint of a folder with the most steps behind it, by its seal and not by any clock.

    Returns it, None where there is none, and what is wrong with each that was passed over as damaged.
    """
    damaged: dict[Path, str] = {}
    # Of equal steps: what is there to go on from before what is there to be tested, and the newer before the older.
    by_name = sorted(folder.glob(f"[!.]*{SUFFIX}"), key=lambda path: (not path.name.startswith("last"), path.name))
    for path in sorted(by_name, key=_claimed_step, reverse=True):
        try:
            verify(path)
            return path, damaged
        except (Damaged, OSError) as error:
            damaged[path] = one_line(error)
    return None, damaged


class _Hashing:
    """A file that is written once, in order; remembers the error that torch's writer words anew.

    Torch writes a small model in hundreds of pieces: they are hashed and written together.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._hash, self._pieces = file, hashlib.sha256(), io.BytesIO()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if len(data) + self._pieces.tell() > TOGETHER:
            self.flush()
        if len(data) > TOGETHER:
            self._write(data)
        else:
            self._pieces.write(data)
        return len(data)

    def flush(self) -> None:
        pieces, self._pieces = self._pieces.getbuffer(), io.BytesIO()
        self._write(pieces)

    def _write(self, data: Any) -> None:
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def sealed(self, step: int) -> bytes:
        self.flush()
        self._hash.update(b"%012d" % step)
        return self._hash.hexdigest().encode()


class _Counting:
    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        pass


def _told(path: Path, error: OSError, dump: Callable[[Any], None]) -> str:
    why = error.strerror or str(error)
    if error.errno not in NO_ROOM:
        return f"{path} cannot be written: {why}"
    counted = _Counting()
    dump(counted)
    free = shutil.disk_usage(path.parent).free
    kept = "; the one before it is kept" if path.is_file() else ""
    return f"{path} cannot be written: {why}; {_megabytes(counted.size)} needed, {_megabytes(free)} free{kept}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB"


def _claimed_step(path: Path) -> float:
    """By the seal, which need not be true; infinite where it cannot be read, so that the file is looked at and told."""
    with contextlib.suppress(OSError, Damaged):
        seal = _read_seal(path)
        return int(seal[1]) if seal else -1
    return float("inf")


def _read_seal(path: Path) -> re.Match[bytes] | None:
    """None for an archive without a comment. Raises Damaged."""
    size = path.stat().st_size
    if size == 0:
        raise Damaged("the file is empty")
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise Damaged("it does not begin as a file of torch.save does")
        file.seek(max(0, size - _END_LENGTH - _LENGTH))
        tail = file.read()
    end, seal = tail[:_END_LENGTH], _SEAL.fullmatch(tail[_END_LENGTH:])
    if seal and end.startswith(_END) and end[-2:] == struct.pack("<H", _LENGTH):
        return seal
    if tail[-_END_LENGTH:].startswith(_END) and tail.endswith(b"\0\0"):
        return None
    raise Damaged(f"its end is missing or altered ({size} bytes)")


@lru_cache(maxsize=32)
def _verified(path: Path, *same_file: int) -> int | None:
    """`verify`; a file that has not changed since is not read again."""
    seal = _read_seal(path)
    if seal is None:
        _verify_records(path)
        return None
    digest, left = hashlib.sha256(), path.stat().st_size - _LENGTH - 2
    with path.open("rb") as file:
        while left > 0:
            block = file.read(min(left, 1 << 22))
            if not block:
                raise Damaged("it has been cut off while it was read")
            digest.update(block)
            left -= len(block)
    digest.update(b"\0\0" + seal[1])  # the comment's length, before there was a comment
    if digest.hexdigest().encode() != seal[2]:
        raise Damaged("its SHA-256 is not the one that was written with it")
    return int(seal[1])


def _verify_records(path: Path) -> None:
    """By the archive's own CRC-32, which torch's reader leaves unread."""
    try:
        with zipfile.ZipFile(path) as archive:
            altered = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise Damaged(f"it is no whole archive: {one_line(error)}") from error
    if altered:
        raise Damaged(f"its record {altered} is altered")
