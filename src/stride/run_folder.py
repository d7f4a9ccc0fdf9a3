"""Where a run lives: its name, its folder, and how the other processes of the same run learn of it."""

import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from stride.errors import NO_ROOM, ConfigError, Fault, StorageError
from stride.whole_file import PART

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Rank 0 makes the folder; processes that it starts find its path here.
HANDED_DOWN = "STRIDE_RUN_DIR"
LOCK = "lock"
# Not what Windows takes for a device (CON, nul.txt), nor what it cuts a dot off.
RUN_NAME = re.compile(r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)(\.|$))[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?")
_ROOTS: set[Path] = set()  # that this process has made
_HELD: list[TextIO] = []  # its locks


def is_first_process() -> bool:
    """Whether this process writes: global rank 0, also before any process group exists."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"]) == 0
    # The script of a SLURM job is its process 0, and so, by what it inherits, is whatever that starts without srun.
    return all(int(os.environ.get(name, "0")) == 0 for name in ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"))


def run_name(cfg: "DictConfig") -> str:
    """The typed name, else the job's, else date, time and a short id. Raises ConfigError for an ambiguous job id."""
    if cfg.name is not None:
        return str(cfg.name)
    if "SLURM_JOB_ID" in os.environ:
        step = os.environ.get("SLURM_STEP_ID")
        return "slurm-" + os.environ["SLURM_JOB_ID"] + (f".{step}" if step else "")
    elastic = os.environ.get("TORCHELASTIC_RUN_ID")
    if elastic == "none":
        law = "torchrun's default id is `none`, the same for every job"
        raise ConfigError(Fault("name", "a run under torchrun needs a name", law, "name=my_run"))
    if elastic and not RUN_NAME.fullmatch(elastic):
        law = "letters, digits, and . _ -, 80 at most"
        raise ConfigError(Fault("name", f"torchrun's id {elastic!r} is no name for a folder", law, "name=my_run"))
    if elastic:
        return f"torchrun-{elastic}"
    return time.strftime("%Y-%m-%d_%H-%M-%S") + "-" + secrets.token_hex(2)


def make(cfg: "DictConfig", root: Path, may_go_on: Callable[[Path], None]) -> Path:
    """The folder of this run: made by the first process, handed down to those that it starts.

    Of a folder with a run in it `may_go_on(folder)` raises ConfigError unless that may go on.
    Raises StorageError where the folder cannot be made.
    """
    handed = os.environ.get(HANDED_DOWN)
    if handed and not is_first_process():
        return Path(handed)
    if cfg.run is not None:
        folder = _first_free(Path(cfg.run), cfg.task)
    else:
        folder = (root / cfg.output_root).resolve() / run_name(cfg)
    if is_first_process():
        new_root = not folder.parent.exists()
        try:
            folder.mkdir(parents=True, exist_ok=False)
            _ROOTS.update({folder.parent} if new_root else ())
        except FileExistsError:
            if not _never_began(folder):
                may_go_on(folder)
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror}") from error
        os.environ[HANDED_DOWN] = str(folder)
    return folder


def remove(folder: Path) -> None:
    """Remove what `make` made, and with it an output root that was not there before."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent in _ROOTS:
        with suppress(OSError):
            folder.parent.rmdir()


def _never_began(folder: Path) -> bool:
    """Whether there is nothing in a folder but what is left of a process that was killed as it began its run."""
    return folder.is_dir() and all(path.name == LOCK or path.match(f".run.json.*{PART}") for path in folder.iterdir())


def forget() -> None:
    """Let the next run of this process make a folder of its own."""
    os.environ.pop(HANDED_DOWN, None)


def _first_free(run: Path, task: str) -> Path:
    taken = {path.name for path in run.glob(f"{task}-*")}
    return run / next(f"{task}-{n}" for n in range(1, len(taken) + 2) if f"{task}-{n}" not in taken)


def storage_error(error: OSError, folder: Path) -> StorageError | None:
    """What to tell of an error that comes of a file of the run that cannot be written; None of any other."""
    name = error.filename2 or error.filename  # of a file that was written beside its place, that place
    path = Path(name) if isinstance(name, str) else folder
    if error.errno not in NO_ROOM and (name is None or not path.is_relative_to(folder)):
        return None
    before: BaseException | None = error
    while before is not None:  # on a full disk one fault leads to the next
        if isinstance(before, StorageError):
            return before
        before = before.__context__
    free = f"; {shutil.disk_usage(folder).free / 1e6:.3g} MB free" if error.errno in NO_ROOM else ""
    return StorageError(f"{path} cannot be written: {error.strerror}{free}")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into `folder` while this one does.

    The system lets go of the lock of a process that has died. Raises ConfigError where another process has it. Where
    the system or the file system has no locks, there is none.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = folder / LOCK
    file = path.open("a+", encoding="utf-8")
    while not _taken(file, fcntl) or not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        file.close()  # who had it has removed it meanwhile
        file = path.open("a+", encoding="utf-8")
    _HELD.append(file)
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            _HELD.remove(file)
            path.unlink(missing_ok=True)


def _let_go() -> None:
    """In a process that was forked, as loaders' workers are: they outlive a killed run by seconds, not its lock."""
    while _HELD:
        _HELD.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _taken(file: TextIO, fcntl: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner, folder = file.read().strip() or "another process", Path(file.name).parent
        file.close()
        law, attempt = "two runs never share a folder", f"name={folder.name}-2"
        raise ConfigError(Fault("name", f"{folder} is being written by {owner}", law, attempt)) from None
    except OSError:
        pass  # a file system without locks
    return True


def in_use(folder: Path) -> bool:
    """Whether a process that lives writes into `folder`."""
    try:
        import fcntl

        with (folder / LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ImportError):
        pass
    return False
