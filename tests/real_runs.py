"""Real processes of `python train.py`, each with a fault to come; forked from one that has imported torch.

`python real_runs.py` is that one: it reads orders, a line of JSON each, and answers with exit codes.
"""

import atexit
import hashlib
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).parent
TRAIN = HERE.parent / "train.py"
PLAIN = HERE / "plain_lightning.py"
# Where a process that is started anew finds what these tests import, and the package, where that is not installed.
PLACES = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
# A run of 24 steps that draws random numbers for dropout and saves every three steps, and after each validation.
SMALL = [
    "datamodule=wine",
    "model=mlp",
    "model.hidden=[8]",
    "model.dropout=0.3",
    "trainer.max_epochs=3",
    "trainer.val_check_interval=0.5",
    "trainer.log_every_n_steps=1",
    "callbacks.progress=null",
    "callbacks.checkpoint_last.every='3 steps'",
]
INTERVAL = 3
LONGEST = 60  # seconds after which a process that hangs is ended, with a code of its own
Fault = tuple[str, list[Any]]  # a function of faults.py, and its arguments


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it wrote to standard output and to standard error."""

    code: int
    out: str
    err: str


class Runs:
    """`runs([...])` is what `python train.py ...` does, with runs below `runs.folder` unless another is typed."""

    def __init__(self, server: subprocess.Popen, folder: Path) -> None:
        self._server, self.folder = server, folder
        self._undisturbed: dict[tuple[str, ...], Path] = {}

    def __call__(
        self,
        words: list[str],
        fault: Fault | None = None,
        *,
        cwd: Path = HERE,
        environment: dict[str, str] | None = None,
    ) -> Ended:
        root = [] if any(word.startswith("output_root=") for word in words) else [f"output_root={self.folder}"]
        return self._run(TRAIN, [*words, *root], fault, cwd, environment or {})

    def undisturbed(self, *words: str, environment: dict[str, str] | None = None) -> Path:
        """The folder of the run of these words that nothing happens to; it is run once."""
        if words not in self._undisturbed:
            folder = self.folder / f"undisturbed-{len(self._undisturbed)}"
            ended = self([*words, f"name={folder.name}"], environment=environment)
            assert ended.code == 0, ended.err
            self._undisturbed[words] = folder
        return self._undisturbed[words]

    def plain(self, *words: str, fault: Fault | None = None, environment: dict[str, str] | None = None) -> Ended:
        """What `python plain_lightning.py ...` does."""
        return self._run(PLAIN, list(words), fault, HERE, environment or {})

    def _run(
        self, script: Path, words: list[str], fault: Fault | None, cwd: Path, environment: dict[str, str]
    ) -> Ended:
        screen = self.folder / "screen"
        order = {"script": str(script), "words": words, "fault": fault, "cwd": str(cwd), "environment": environment}
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps({**order, "screen": str(screen)}) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return Ended(code, *(screen.with_suffix(name).read_text() for name in (".out", ".err")))


@contextmanager
def started(folder: Path) -> Iterator[Runs]:
    """The process that the others are forked from; it ends with the block."""
    environment = {**os.environ, "COLUMNS": "200", "STRIDE_ALLOW_TARGETS": "own_loader", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield Runs(server, folder)
        finally:
            server.kill()


def sha_of(folder: Path, *, tables: tuple[str, ...] = ("lr_trace.csv", "metrics.csv")) -> str:
    """SHA-256 over the weights and the optimizer's state of a run's last and best, and over its tables."""
    digest = hashlib.sha256()
    for name in ("last", "best"):
        _feed(digest, folder / "checkpoints" / f"{name}.ckpt")
    for name in tables:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def sha_of_plain(folder: Path) -> str:
    """The same of a run of Lightning by itself."""
    digest = hashlib.sha256()
    _feed(digest, folder / "final.ckpt")
    return digest.hexdigest()


def _feed(digest: Any, checkpoint: Path) -> None:
    import torch

    def feed(value: Any) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                feed(key)
                feed(each)
        elif isinstance(value, list | tuple):
            for each in value:
                feed(each)
        else:
            digest.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())

    saved = torch.load(checkpoint, weights_only=True)
    feed([saved["global_step"], saved["state_dict"], saved["optimizer_states"]])


def _serve() -> None:
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _end(_code_of(json.loads(line)))
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _end(code: int) -> NoReturn:
    """As the interpreter would, but for the seconds in which it takes apart all that was imported."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _code_of(order: dict[str, Any]) -> int:
    try:
        _run(order)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _run(order: dict[str, Any]) -> None:
    for target, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{order['screen']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    signal.alarm(LONGEST)
    tempfile.tempdir = None  # it is looked for anew, by the new environment
    if order["fault"]:
        name, arguments = order["fault"]
        getattr(importlib.import_module("faults"), name)(*arguments)
    sys.argv = [order["script"], *order["words"]]
    runpy.run_path(order["script"], run_name="__main__")


if __name__ == "__main__":
    import stride.warm  # noqa: F401

    _serve()
