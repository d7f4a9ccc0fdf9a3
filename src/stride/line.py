"""What was typed: read with Hydra's own parser against conf/, before torch is imported and any folder is made.

`read` composes the config and collects everything that is wrong with the words of the line; rules about values
that belong together are in check.py.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride.errors import ConfigError, Fault, nearest, one_line
from stride.kept_config import find_run, load_config, newest_run, to_evaluate
from stride.keys import flat, look_up
from stride.names import CONF, FROM_RUN, TASKS, Names, groups, show
from stride.secret import is_secret, shown, without_secret
from stride.words import (
    SEVERAL,
    bare_fault,
    first,
    flag_fault,
    joined,
    parse,
    refuse_doubles,
    several_fault,
    sweep_values,
    text_of,
    written,
)

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

# Keys that hold a text, also where it looks like a number: name=007.
TEXTS = ("name", "run", "init_from", "resume.from", "output_root")


@dataclass(frozen=True)
class Line:
    """A line that was read: the composed config, what was typed, and which values a sweep goes through."""

    cfg: "DictConfig"
    overrides: list[str]
    choices: dict[str, str]
    typed: frozenset[str]
    swept: dict[str, list[Any]] = field(default_factory=dict)


def read(words: list[str], *, multirun: bool = False, conf: Path = CONF) -> tuple[Line, list[Fault]]:
    """The config that `words` (overrides, no flags) compose, and every fault in them.

    The config is composed from the words that can be used, so that check.py may add its own findings to the
    faults returned here. Raises ConfigError where nothing can be composed at all. No fault tells a typed secret.
    """

    def told(faults: Iterable[Fault]) -> list[Fault]:
        return [Fault(*(shown(part, secrets) for part in astuple(fault))) for fault in faults]

    secrets = {part for word in words for part in _told_by(word)}
    try:
        line, faults = _read(words, multirun=multirun, conf=conf)
    except ConfigError as error:
        raise ConfigError(*told(error.faults)) from error.__cause__
    return line, told(faults)


def _told_by(word: str) -> Iterator[str]:
    """The texts of a word that are secret, as they may stand in other texts."""
    kept, value = without_secret(word), word.partition("=")[2]
    if kept != word:
        yield from (part for part in re.split(r"[][{}:,'\"@\s]+", value) if len(part) > 3 and part not in kept)


def _read(words: list[str], *, multirun: bool, conf: Path) -> tuple[Line, list[Fault]]:
    faults: list[Fault] = []
    whole, loose = joined(words, faults)
    parsed = [override for word in whole if (override := parse(word, faults, loose)) is not None]
    refuse_doubles(parsed, faults)
    options = groups(conf)
    several = [] if multirun else [override for override in parsed if override.is_sweep_override()]
    choices, values = _sorted([override for override in parsed if override not in several], options, faults)
    run_of = _run_of(values, choices, faults)
    base = to_evaluate(load_config(run_of)) if run_of else _compose(choices, conf, values)
    faults += _strangers(base, set(options) | _front_keys(conf))
    names = Names(_defaults(base), options)
    faults += [
        flag_fault(word, value, names) if word.startswith("-") else bare_fault(word, names) for word, value in loose
    ]
    faults += [several_fault(override, names) for override in several]
    cfg, swept = _apply(base, values, names, faults)
    if run_of:
        cfg.run = str(run_of)
    swept |= {key: list(sweep_values(choice)) for key, choice in choices.items() if choice.is_sweep_override()}
    chosen = {key: str(first(choice)) for key, choice in choices.items()}
    typed = frozenset(override.key_or_group for override in parsed)
    faults += _swept_secrets(swept)
    return Line(cfg, list(words), chosen, typed, swept), faults


def _sorted(
    parsed: list["Override"], options: dict[str, list[str]], faults: list[Fault]
) -> tuple[dict[str, "Override"], list["Override"]]:
    """The choices of groups, and the values, that can be used."""
    choices, values = {}, []
    for override in parsed:
        key = override.key_or_group
        if re.match(r"hydra(\W|$)", key):
            law = "a run makes its own folder and log below output_root/name, a sweep is set by sweep.*"
            faults.append(Fault(key, "is Hydra's own and has no effect here", law))
        elif key not in options:
            values.append(override)
        elif _option_is_known(override, options, faults):
            choices[key] = override
    return choices, values


def _swept_secrets(swept: Iterable[str]) -> Iterator[Fault]:
    for key in swept:
        if any(map(is_secret, key.split("."))):
            law = "all that a sweep goes through is written down"
            yield Fault(key, "holds a secret by its name, and is not swept", law, f"{key}='${{oc.env:NAME}}'")


def _strangers(base: "DictConfig", front: set[str]) -> Iterator[Fault]:
    """Top-level keys that a YAML brought in and that nothing would read."""
    for key in map(str, base):
        if key not in front:
            hint = nearest(key, front)
            law = f"did you mean `{hint}`?" if hint else ""
            yield Fault(key, "no such key; nothing would read it", law)


def each_trial(line: Line) -> Iterator["DictConfig"]:
    """The configs to check before a sweep: one for each value of each swept key, the other keys at their first."""
    from omegaconf import OmegaConf

    yield line.cfg
    for key, values in line.swept.items():
        if key in line.choices:
            continue  # a group's options are files; the tests compose every one of them
        for value in values[1:]:
            cfg = line.cfg.copy()
            OmegaConf.update(cfg, key, value)
            yield cfg


# --- one word --------------------------------------------------------------------------------------------------


# --- groups ----------------------------------------------------------------------------------------------------


def _option_is_known(override: "Override", options: dict[str, list[str]], faults: list[Fault]) -> bool:
    group, known = override.key_or_group, options[override.key_or_group]
    given = list(sweep_values(override)) if override.is_sweep_override() else [override.value()]
    for value in given:
        several = value if isinstance(value, list) else [value]
        if isinstance(value, list) and group not in SEVERAL:
            faults.append(Fault(group, f"{value} are several choices", "one choice only", f"{group}={value[0]}"))
            return False
        for name in several:
            name = "none" if name is None or name is False else str(name)
            if name not in known:
                hint = nearest(name, known)
                law = f"did you mean `{hint}`?" if hint else ""
                attempt = f"{group}={hint}" if hint else ""
                if group == "warmup" and re.match(r"[\d.]", name):
                    attempt = f"warmup.length={shlex.quote(f'{name} steps' if name.isdigit() else name)}"
                faults.append(
                    Fault(
                        group,
                        f"no choice {name!r}",
                        f"{law} choices: {', '.join(known)}".strip(),
                        attempt,
                    )
                )
                return False
    return True


def _compose(choices: dict[str, "Override"], conf: Path, values: list["Override"]) -> "DictConfig":
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    words = []
    for group, choice in choices.items():
        value = first(choice)
        words.append(f"{group}=[{','.join(map(str, value))}]" if isinstance(value, list) else f"{group}={value}")
    if "lr_finder" not in choices and any(o.key_or_group == "task" and o.value() == "tune" for o in values):
        words.append("lr_finder=on")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
            return compose("train", overrides=words)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(Fault("conf", one_line(error))) from error


def _front_keys(conf: Path) -> set[str]:
    text = (conf / "train.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"^(\w+):", text, flags=re.MULTILINE)) - {"defaults"}


# --- values ----------------------------------------------------------------------------------------------------


def _defaults(base: "DictConfig") -> dict[str, Any]:
    """Every key of a config that one may type, with its value."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(base, resolve=False)
    return {key: value for key, value in flat(plain) if not any(part.startswith("_") for part in key.split("."))}


def _apply(
    base: "DictConfig", values: list["Override"], names: Names, faults: list[Fault]
) -> tuple["DictConfig", dict[str, list[Any]]]:
    from omegaconf import DictConfig, OmegaConf

    plain = OmegaConf.to_container(base, resolve=False)
    cfg = DictConfig(plain)  # a copy without Hydra's struct flag: the keys are checked here
    swept: dict[str, list[Any]] = {}
    for override in values:
        key = override.key_or_group
        found, default = look_up(plain, key)
        if not found and not _under_target(plain, key):
            faults.append(_unknown(key, override, names))
            continue
        default = _resolved(base, key, default)
        given = list(sweep_values(override)) if override.is_sweep_override() else [text_of(override.value())]
        if key in TEXTS and isinstance(given[0], int | float):
            given = list(map(str, given)) if override.is_sweep_override() else [written(override)]
        typed = [_typed(key, value, default, found, faults) for value in given]
        OmegaConf.update(cfg, key, typed[0])
        if override.is_sweep_override():
            swept[key] = typed
    return cfg, swept


def _typed(key: str, value: Any, default: Any, found: bool, faults: list[Fault]) -> Any:
    """`value` as the type that the YAML's own default has, or a fault."""

    def refuse(what: str, law: str = "", attempt: str = "") -> Any:
        faults.append(Fault(key, what, law, attempt))
        return default

    if isinstance(value, str) and "${" in value:
        return value
    if value == "None":
        usual = "null" if default is None else show(default)
        return refuse("'None' is but a text here", "nothing is written null", f"{key}={usual}")
    if not found and value in ("yes", "no", "on", "off"):
        return refuse(f"expected true or false, got {value!r}", "", f"{key}={show(value in ('yes', 'on'))}")
    if isinstance(default, dict):
        if value is None and key.startswith(("callbacks.", "logger.")):
            return None
        names = [f"{key}.{name}" for name in default if not name.startswith("_")]
        return refuse("is not one value", f"it holds {', '.join(names) or 'nothing to set'}; set one of them")
    if value is None and key.startswith("trainer."):
        return None  # Lightning's own word for its default
    if value is None and found and default is not None:
        return refuse("may not be null", f"the default is {show(default)}")
    if isinstance(default, bool):
        return (
            value
            if isinstance(value, bool)
            else refuse(f"expected true or false, got {value!r}", "", f"{key}={show(default)}")
        )
    if isinstance(default, int | float):
        return _number(key, value, default, refuse)
    if isinstance(default, list) and not isinstance(value, list):
        return refuse(f"expected a list, got {value!r}", "", f"{key}={show(default)}")
    return value


def _number(key: str, value: Any, default: float, refuse: Callable[..., Any]) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return refuse(f"expected a number, got {value!r}", "", f"{key}={_number_in(value) or show(default)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return refuse(f"expected a number, got {show(value)}", "", f"{key}={show(default)}")
    if isinstance(default, int) and isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")) or value != int(value):
            return refuse(f"expected an integer, got {value}", "", f"{key}={show(default)}")
        return int(value)
    return value


def _number_in(text: str) -> str:
    """The number that `text` begins with, where only a unit or a suffix (`20 epochs`, `50%`, `1e-3f`) follows."""
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%|f|steps?|epochs?)", text)
    if not found:
        return ""
    return f"{float(found[1]) / 100:g}" if found[2] == "%" else found[1]


def _unknown(key: str, override: "Override", names: Names) -> Fault:
    group, _, argument = key.partition(".")
    if group in names.options and argument and not any(name.startswith(f"{group}.") for name in names.defaults):
        what = f"{group}=none has nothing to set"
        return Fault(key, what, "", f"{names.word(group)} {key}={written(override)}")
    hint = names.meant(key)
    law = f"did you mean `{hint}`?" if hint else "python train.py --cfg job shows every key"
    return Fault(key, "no such key; nothing would read it", law, names.word(hint, written(override)) if hint else "")


def _under_target(plain: Any, key: str) -> bool:
    """Whether `key` is a new argument of a node with a `_target_`; check.py asks its signature."""
    parent, dot, _ = key.rpartition(".")
    found, node = look_up(plain, parent) if dot else (False, None)
    return found and isinstance(node, dict) and "_target_" in node


def _resolved(base: "DictConfig", key: str, default: Any) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not (isinstance(default, str) and ("${" in default or default == "???")):
        return default
    try:
        return OmegaConf.select(base, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return None


# --- a run's own config ----------------------------------------------------------------------------------------


def _run_of(values: list["Override"], choices: dict[str, "Override"], faults: list[Fault]) -> Path | None:
    """The run folder whose config is to be used (task=test, validate, predict), or None for conf/."""
    given = {override.key_or_group: override.value() for override in values if not override.is_sweep_override()}
    task = given.get("task", "train")
    if task not in TASKS:
        hint = nearest(str(task), TASKS)
        faults.append(Fault("task", f"no task {str(task)!r}", f"tasks: {', '.join(TASKS)}", f"task={hint or 'train'}"))
        return None
    run = given.get("run")
    if task not in FROM_RUN:
        if run is not None:
            faults.append(
                Fault(
                    "run",
                    f"is not read by task={task}",
                    f"it goes with task={', '.join(FROM_RUN)}",
                    f"task=test run={run}",
                )
            )
        return None
    if run is None:
        newest = newest_run()
        law = "" if newest else "there is none in runs/ yet"
        attempt = f"task={task} run={newest or 'runs/NAME'}"
        raise ConfigError(*faults, Fault("run", f"task={task} needs the folder of a run", law, attempt))
    folder = find_run(str(text_of(run)))
    for group, choice in choices.items():
        law = "the run is rebuilt from its own config; values may change, choices may not"
        faults.append(Fault(group, f"cannot become {first(choice)!r} in a run that was trained", law))
    choices.clear()
    return folder
