"""The front of the command line: help, completion, `--cfg`, sweeps, single runs; and every refusal on one screen."""

import gc
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stride import help_page, run_folder
from stride.errors import ConfigError, Exit, Fault, StorageError, one_line
from stride.line import Line
from stride.names import CONF, groups
from stride.pipeline import checked, run
from stride.secret import without_secret, without_secrets

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Hydra answers these itself.
HYDRA_FLAGS = ("--shell-completion", "-sc", "--info", "-i", "--version", "--hydra-help")


def main(words: Sequence[str]) -> int:
    """What `python train.py WORDS` does; returns the exit code."""
    try:
        code = _main(list(words))
        sys.stdout.flush()
        return code
    except ConfigError as error:
        fault, code = str(error), Exit.BAD_INPUT
    except StorageError as error:
        fault, code = f"error: output_root: {error}", Exit.STORAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # who read this has gone, as `head` does; nor is there anybody to flush to at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.CRASH
    if os.environ.get("DEBUG") == "1":
        traceback.print_exc()
    if run_folder.is_first_process():
        print(fault, file=sys.stderr)
    return code


@contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection while a config is composed: it finds none, and takes a fifth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _main(words: list[str]) -> int:
    if {"-h", "--help"} & set(words):
        print(help_page.text(CONF, groups(CONF)))
        return Exit.DONE
    flags = [word for word in words if word.startswith("-")]
    values = [word for word in words if not word.startswith("-")]
    if {"-m", "--multirun"} & set(flags):
        with _without_collection():
            line = sweep_line([*values, *(set(flags) - {"-m", "--multirun"})])
        if line.cfg.task == "plan":
            return run(line).exit_code  # one picture of them all
        return _hydra(["-m", *_forced(line)])
    if flags[:1] in (["--cfg"], ["-c"]) or flags[:1] == ["--cfg=job"]:
        return _show_config(words, values)
    if flags and flags[0].partition("=")[0] in HYDRA_FLAGS:
        return _hydra(words)
    with _without_collection():
        line = checked(words)
    of_a_sweep = next((key for key in sorted(line.typed) if key.partition(".")[0] == "sweep"), None)
    if of_a_sweep is not None:
        attempt = shlex.join(["python", "train.py", "-m", *map(without_secret, words)])
        raise ConfigError(Fault(of_a_sweep, "nothing is swept without -m", "", attempt))
    return run(line).exit_code


def _show_config(words: list[str], values: list[str]) -> int:
    if "all" in values or "hydra" in values:
        return _hydra(words)
    from omegaconf import OmegaConf

    with _without_collection():
        line = checked([word for word in values if word != "job"])
    written = OmegaConf.to_container(line.cfg, resolve=False)
    shown = OmegaConf.to_container(line.cfg, resolve=True) if "--resolve" in words else written
    print(OmegaConf.to_yaml(OmegaConf.create(without_secrets(shown, written))), end="")
    return Exit.DONE


def _hydra(words: list[str]) -> int:
    """Hydra's own front end: sweeps, completion and what it tells about itself."""
    import hydra
    from hydra.errors import HydraException

    def one_run(cfg: "DictConfig") -> None:
        raise AssertionError(f"single runs do not come here, got {cfg}")

    sys.argv[1:] = words
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(one_run)()
    except HydraException as error:
        raise ConfigError(Fault("hydra", one_line(error))) from error
    return Exit.DONE


def sweep_line(words: list[str]) -> Line:
    """A checked line with several values, the search space of conf/sweep written out in it; what was typed wins."""
    line = checked(words, multirun=True)
    space = dict(line.cfg.sweep.get("space") or {})
    if line.cfg.sweep.get("lr_range") is not None:
        space.pop("optimizer.lr", None)  # the finder's range takes its place
    more = [f"{key}={text}" for key, text in space.items() if key not in line.typed]
    return checked([*words, *more], multirun=True) if more else line


def _forced(line: Line) -> list[str]:
    """The words of a checked line as Hydra takes them: `++`, for keys that only some of the swept choices have."""
    words = [word.lstrip("+") for word in line.overrides]
    keys = [word.partition("=")[0] for word in words]
    return [word if key in line.choices else f"++{word}" for word, key in zip(words, keys, strict=True)]
