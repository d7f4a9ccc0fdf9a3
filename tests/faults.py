"""What goes wrong: each function is called in a process of its own, before the script that is to suffer from it."""

import atexit
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from stride import build, checkpoint_file

# What calls, Python's and C's, a process may be killed before: any, those of the training, those of the writing of a
# checkpoint, and those that change a file.
WITHIN: dict[str, tuple[Any, str]] = {"fit": (Trainer, "fit"), "save": (checkpoint_file, "write")}
CHANGES = ("open", "write", "writelines", "flush", "close", "fsync", "replace", "rename", "link", "unlink", "mkdir")


def counted(told: str) -> None:
    """At the end, how many calls of each kind there were is told."""
    calls = dict.fromkeys(("any", "changes", *WITHIN), 0)

    def count(frame: FrameType, event: str, arg: Any) -> None:
        calls["any"] += _is_call(event)
        calls["changes"] += _is_change(event, arg)

    def tell() -> None:
        sys.setprofile(None)
        Path(told).write_text(json.dumps(calls))

    def measured(kind: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            before = calls["any"]
            try:
                return function(*args, **kwargs)
            finally:
                calls[kind] += calls["any"] - before

        return call

    for kind, place in WITHIN.items():
        setattr(*place, measured(kind, getattr(*place)))
    atexit.register(tell)
    sys.setprofile(count)


def killed(kind: str, before: int, told: str) -> None:
    """The process kills itself before its so many-th call of a kind; the steps that it had made are told."""
    calls, trainers = 0, []

    def look(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal calls
        calls += _is_change(event, arg) if kind == "changes" else _is_call(event)
        if calls == before:
            Path(told).write_text(json.dumps(trainers[-1].global_step if trainers else 0))
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*args: Any, **kwargs: Any) -> Any:
        sys.setprofile(look)
        try:
            return plain(*args, **kwargs)
        finally:
            sys.setprofile(None)

    fit = Trainer.fit
    Trainer.fit = lambda trainer, *args, **kwargs: (trainers.append(trainer), fit(trainer, *args, **kwargs))
    if kind in WITHIN:
        plain = getattr(*WITHIN[kind])
        setattr(*WITHIN[kind], watched)
    else:
        sys.setprofile(look)


def _is_call(event: str) -> bool:
    return event in ("call", "c_call")


def _is_change(event: str, arg: Any) -> bool:
    if event != "c_call" or arg.__name__ not in CHANGES:
        return False
    of = arg.__self__  # a file, or the module of a function; str has a `replace`, too
    return getattr(of, "__name__", type(of).__module__) in ("posix", "io", "_io")


def killed_in_a_copy(number: int) -> None:
    """The process is killed half way through the so many-th file that it copies to another file system."""

    def kill(target: int, source: int) -> None:
        _sendfile(target, source, 0, os.fstat(source).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    _in_a_copy(number, kill)


def filled_in_a_copy(number: int, path: str) -> None:
    """A file at `path` takes all of its file system as the so many-th file is copied there."""
    _in_a_copy(number, lambda *_: _fill(path, 0))


def killed_at(step: int) -> None:
    """The process is killed after so many steps."""
    _at({step: lambda: os.kill(os.getpid(), signal.SIGKILL)})


def waits_at(step: int, sign: str) -> None:
    """After so many steps the process waits until there is a file."""

    def wait() -> None:
        Path(sign).with_suffix(".waits").touch()
        while not Path(sign).exists():
            time.sleep(0.01)

    _at({step: wait})


def in_the_way(files: list[str], folders: list[str]) -> None:
    """In the run's folder are files and folders of these names before it is set up."""
    plain = build.run

    def run(cfg: Any, folder: Path, *args: Any) -> Any:
        for name in files:
            (folder / name).touch()
        for name in folders:
            (folder / name).mkdir()
        return plain(cfg, folder, *args)

    build.run = run


def in_the_way_for_a_while(path: str, begin: int, end: int) -> None:
    """From one step to another there is a folder where the file was."""
    file, aside = Path(path), Path(f"{path}.aside")
    _at({begin: lambda: (file.rename(aside), file.mkdir()), end: lambda: (file.rmdir(), aside.rename(file))})


def no_room(saves: int, size: int) -> None:
    """After so many checkpoints, no file may grow beyond `size` bytes."""
    import resource

    _before_save(saves, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


def filled(saves: int, path: str, left: int) -> None:
    """After so many checkpoints, a file at `path` takes all of its file system but `left` bytes."""
    _before_save(saves, lambda: _fill(path, left))


def spoiled(how: str, loaded: str) -> None:
    """Sample 60 is lost as it is loaded the second time; `loaded` is a file that counts.

    how: it is not a number; it raises; the process that loads it is killed.
    """
    from own_loader import Noisy

    plain = Noisy.__getitem__

    def sample(self: Noisy, index: int) -> Any:
        x, y = plain(self, index)
        if index != 60:
            return x, y
        with Path(loaded).open("a") as file:
            file.write(".")
        if Path(loaded).stat().st_size != 2:
            return x, y
        if how == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raises":
            raise OSError("sample 60 cannot be read")
        return x * float("nan"), y

    Noisy.__getitem__ = sample


def threads(count: int) -> None:
    """Sums are added up by so many threads."""
    torch.set_num_threads(count)


_sendfile = os.sendfile


def _in_a_copy(number: int, act: Callable[[int, int], Any]) -> None:
    copies = 0

    def sendfile(target: int, source: int, offset: int, count: int) -> int:
        nonlocal copies
        copies += offset == 0
        if copies == number and offset == 0:
            act(target, source)
        return _sendfile(target, source, offset, count)

    os.sendfile = sendfile


def _fill(path: str, left: int) -> None:
    free = os.statvfs(Path(path).parent)
    with Path(path).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left)


def _at(acts: dict[int, Callable[[], Any]]) -> None:
    class Act(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            acts.pop(trainer.global_step, lambda: None)()

    fit = Trainer.fit
    Trainer.fit = lambda trainer, *args, **kwargs: (trainer.callbacks.append(Act()), fit(trainer, *args, **kwargs))


def _before_save(number: int, act: Callable[[], Any]) -> None:
    """Something happens before a checkpoint is written, once so many have been."""
    plain, saves = Trainer.save_checkpoint, 0

    def save(*args: Any, **kwargs: Any) -> None:
        nonlocal saves
        if saves == number:
            act()
        saves += 1
        plain(*args, **kwargs)

    Trainer.save_checkpoint = save
