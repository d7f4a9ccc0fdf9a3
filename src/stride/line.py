"""What was typed: read with Hydra's own parser against conf/, before torch is imported and any folder is made.

`read` composes the config and collects everything that is wrong with the words of the line; rules about values
that belong together are in check.py.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride.errors import ConfigError, Fault, nearest, one_line
from stride.keys import flat, look_up

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
TASKS = ("train", "tune", "plan", "stability", "test", "validate", "predict")
FROM_RUN = ("test", "validate", "predict")

DASHES = "\N{MINUS SIGN}\N{EN DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}"

# Names that other frameworks use for a key of ours.
ALIASES = {
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "momentum": "optimizer.momentum",
    "epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "bs": "datamodule.batch_size",
    "gpus": "trainer.devices",
    "fp16": "trainer.precision",
    "data": "datamodule",
    "dataset": "datamodule",
    "schedule": "scheduler",
    "lr_scheduler": "scheduler",
    "net": "model",
    "network": "model",
    "loss": "objective",
    "early_stopping": "callbacks.early_stopping",
    "output_dir": "output_root",
    "ckpt": "resume.from",
    "ckpt_path": "resume.from",
    "resume_from_checkpoint": "resume.from",
    "resume_from": "resume.from",
}


@dataclass(frozen=True)
class Line:
    """A line that was read: the composed config, what was typed, and which values a sweep goes through."""

    cfg: "DictConfig"
    overrides: list[str]
    choices: dict[str, str]
    typed: frozenset[str]
    swept: dict[str, list[Any]] = field(default_factory=dict)


def groups(conf: Path = CONF) -> dict[str, list[str]]:
    """Every group of conf/ and its options, read from disk."""
    folders = sorted(path for path in conf.iterdir() if path.is_dir())
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def read(words: list[str], *, multirun: bool = False, conf: Path = CONF) -> tuple[Line, list[Fault]]:
    """The config that `words` (overrides, no flags) compose, and every fault in them.

    The config is composed from the words that can be used, so that check.py may add its own findings to the
    faults returned here. Raises ConfigError where nothing can be composed at all.
    """
    faults: list[Fault] = []
    parsed = [override for word in _joined(words, faults) if (override := _parse(word, faults)) is not None]
    _refuse_doubles(parsed, faults)
    options = groups(conf)
    choices, values = _sorted(parsed, options, multirun, faults)
    run_of = _run_of(values, choices, faults)
    base = load_config(run_of) if run_of else _compose(choices, conf, values)
    faults += _strangers(base, set(options) | _front_keys(conf))
    cfg, swept = _apply(base, values, options, faults)
    if run_of:
        cfg.run = str(run_of)
    swept |= {key: list(_sweep_values(choice)) for key, choice in choices.items() if choice.is_sweep_override()}
    chosen = {key: str(_first(choice)) for key, choice in choices.items()}
    typed = frozenset(override.key_or_group for override in parsed)
    return Line(cfg, list(words), chosen, typed, swept), faults


def _sorted(
    parsed: list["Override"], options: dict[str, list[str]], multirun: bool, faults: list[Fault]
) -> tuple[dict[str, "Override"], list["Override"]]:
    """The choices of groups, and the values, that can be used."""
    choices, values = {}, []
    for override in parsed:
        key = override.key_or_group
        if override.is_delete():
            attempt = _instead_of_delete(key, options)
            faults.append(Fault(override.input_line or key, "nothing is deleted here", "", attempt))
        elif override.is_sweep_override() and not multirun:
            faults.append(_several_without_multirun(override))
        elif re.match(r"hydra(\W|$)", key):
            law = "a run makes its own folder and log below output_root/name, a sweep is set by sweep.*"
            faults.append(Fault(key, "is Hydra's own and has no effect here", law))
        elif key not in options:
            values.append(override)
        elif _option_is_known(override, options, faults):
            choices[key] = override
    return choices, values


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


def _joined(words: list[str], faults: list[Fault]) -> Iterator[str]:
    """The words, less the pairs that a space or another program's habit tore apart (`lr =0.1`, `--lr 0.1`)."""
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        follows = waiting[0] if waiting else ""
        if "=" not in word and follows.startswith("="):
            faults.append(Fault(word, "has a space before `=`", "", f"{word}={waiting.pop(0)[1:]}"))
        elif (
            word.startswith("--") and "=" not in word and follows and not follows.startswith("-") and "=" not in follows
        ):
            key = ALIASES.get(word[2:], word[2:])
            faults.append(Fault(word, "no such flag", "words are key=value, without dashes", f"{key}={waiting.pop(0)}"))
        else:
            yield word


def _parse(word: str, faults: list[Fault]) -> "Override | None":
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = word.partition("=")
    bare = key.lstrip("+~")
    problem = None
    if word.startswith("-"):
        stripped = word.lstrip("-")
        attempt = stripped if "=" in stripped else f"{stripped}=..."
        problem = Fault(word, "no such flag", "words are key=value, without dashes", attempt)
    elif any(dash in word for dash in DASHES):
        at = next(index for index, letter in enumerate(word) if letter in DASHES) + 1
        plain = word.translate({ord(dash): "-" for dash in DASHES})
        problem = Fault(bare, f"holds a typographic minus at column {at}", "", plain)
    elif not equals and not word.startswith("~"):
        problem = Fault(word, "has no value", "words are key=value", f"{word}=...")
    elif value.startswith("="):
        problem = Fault(bare, "has two `=`", "one is enough", f"{key}={value.lstrip('=')}")
    elif key != key.strip() or value != value.strip():
        problem = Fault(bare.strip(), "has a space beside `=`", "", f"{key.strip()}={value.strip()}")
    elif equals and not bare:
        problem = Fault(word, "has no key", "words are key=value")
    elif value.endswith(","):
        problem = Fault(bare, f"ends with a comma: {value!r}", "no value follows it", f"{key}={value.rstrip(',')}")
    elif "/" in bare and not bare.startswith("hydra"):
        problem = Fault(bare, "`/` does not set a value", "use `.`", f"{bare.replace('/', '.')}={value}")
    if problem is not None:
        faults.append(problem)
        return None
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, ValueError, AssertionError, TypeError):
        law = "a value with spaces or = : , ( [ { needs quotes of its own"
        faults.append(Fault(bare, f"cannot read the value {value!r}", law, f"\"{key}='{value}'\""))
        return None


def _refuse_doubles(parsed: list["Override"], faults: list[Fault]) -> None:
    seen: dict[str, list[str]] = {}
    for override in parsed:
        seen.setdefault(override.key_or_group, []).append(_written(override))
    for key, given in seen.items():
        if len(given) > 1:
            faults.append(
                Fault(
                    key,
                    f"given {len(given)} times ({', '.join(given)})",
                    "once is enough",
                    f"{key}={given[-1]}",
                )
            )


def _several_without_multirun(override: "Override") -> Fault:
    key, text = override.key_or_group, _written(override)
    if re.fullmatch(r"0,\d+", text):
        return Fault(
            key,
            f"{text!r} is two values",
            "decimals take a point; several values need -m",
            f"{key}={text.replace(',', '.')}",
        )
    return Fault(key, f"several values ({text})", "a sweep needs -m", f"python train.py -m {override.input_line}")


def _written(override: "Override") -> str:
    return (override.input_line or "").partition("=")[2]


def _instead_of_delete(key: str, options: dict[str, list[str]]) -> str:
    if key in options:
        return f"{key}=none"
    return f"{key}=null" if key.startswith(("callbacks.", "logger.")) else f"another value of {key}"


# --- groups ----------------------------------------------------------------------------------------------------


def _option_is_known(override: "Override", options: dict[str, list[str]], faults: list[Fault]) -> bool:
    group, known = override.key_or_group, options[override.key_or_group]
    given = list(_sweep_values(override)) if override.is_sweep_override() else [override.value()]
    for value in given:
        several = value if isinstance(value, list) else [value]
        if isinstance(value, list) and group not in ("callbacks", "logger"):
            faults.append(Fault(group, f"{value} are several choices", "one choice only", f"{group}={value[0]}"))
            return False
        for name in several:
            name = "none" if name is None or name is False else str(name)
            if name not in known:
                hint = nearest(name, known)
                law = f"did you mean `{hint}`?" if hint else ""
                faults.append(
                    Fault(
                        group,
                        f"no choice {name!r}",
                        f"{law} choices: {', '.join(known)}".strip(),
                        f"{group}={hint}" if hint else "",
                    )
                )
                return False
    return True


def _first(override: "Override") -> Any:
    value = next(_sweep_values(override)) if override.is_sweep_override() else override.value()
    return "none" if value is None or value is False else value


def _sweep_values(override: "Override") -> Iterator[Any]:
    """The values a sweep override names; the two ends of an interval."""
    from hydra.core.override_parser.types import Glob, IntervalSweep, QuotedString

    value = override.value()
    if isinstance(value, Glob):
        found = iter(value.filter(groups().get(override.key_or_group, [])))
    else:
        found = (value.start, value.end) if isinstance(value, IntervalSweep) else override.sweep_iterator()
    for one in found:
        yield one.text if isinstance(one, QuotedString) else one


def _compose(choices: dict[str, "Override"], conf: Path, values: list["Override"]) -> "DictConfig":
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    words = []
    for group, choice in choices.items():
        value = _first(choice)
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


def _apply(
    base: "DictConfig", values: list["Override"], options: dict[str, list[str]], faults: list[Fault]
) -> tuple["DictConfig", dict[str, list[Any]]]:
    from omegaconf import DictConfig, OmegaConf

    plain = OmegaConf.to_container(base, resolve=False)
    known = [key for key, _ in flat(plain) if not any(part.startswith("_") for part in key.split("."))]
    cfg = DictConfig(plain)  # a copy without Hydra's struct flag: the keys are checked here
    swept: dict[str, list[Any]] = {}
    for override in values:
        key = override.key_or_group
        found, default = look_up(plain, key)
        if not found and not _under_target(plain, key):
            faults.append(_unknown(key, override, known, options))
            continue
        default = _resolved(base, key, default)
        given = list(_sweep_values(override)) if override.is_sweep_override() else [_text(override.value())]
        typed = [_typed(key, value, default, found, faults) for value in given]
        OmegaConf.update(cfg, key, typed[0])
        if override.is_sweep_override():
            swept[key] = typed
    return cfg, swept


def _text(value: Any) -> Any:
    from hydra.core.override_parser.types import QuotedString

    return value.text if isinstance(value, QuotedString) else value


def _typed(key: str, value: Any, default: Any, found: bool, faults: list[Fault]) -> Any:
    """`value` as the type that the YAML's own default has, or a fault."""

    def refuse(what: str, law: str = "", attempt: str = "") -> Any:
        faults.append(Fault(key, what, law, attempt))
        return default

    if isinstance(value, str) and "${" in value:
        return value
    if isinstance(default, dict):
        if value is None and key.startswith(("callbacks.", "logger.")):
            return None
        names = [f"{key}.{name}" for name in default if not name.startswith("_")]
        return refuse("is not one value", f"it holds {', '.join(names) or 'nothing to set'}; set one of them")
    if value is None and key.startswith("trainer."):
        return None  # Lightning's own word for its default
    if value is None and found and default is not None:
        return refuse("may not be null", f"the default is {_show(default)}")
    if isinstance(default, bool):
        return (
            value
            if isinstance(value, bool)
            else refuse(f"expected true or false, got {value!r}", "", f"{key}={_show(default)}")
        )
    if isinstance(default, int | float):
        return _number(key, value, default, refuse)
    if isinstance(default, list) and not isinstance(value, list):
        return refuse(f"expected a list, got {value!r}", "", f"{key}={_show(default)}")
    return value


def _number(key: str, value: Any, default: float, refuse: Callable[..., Any]) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            start = re.match(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value)
            hint = start.group() if start else _show(default)
            return refuse(f"expected a number, got {value!r}", "", f"{key}={hint}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return refuse(f"expected a number, got {_show(value)}", "", f"{key}={_show(default)}")
    if isinstance(default, int) and isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")) or value != int(value):
            return refuse(f"expected an integer, got {value}", "", f"{key}={_show(default)}")
        return int(value)
    return value


def _unknown(key: str, override: "Override", known: list[str], options: dict[str, list[str]]) -> Fault:
    group, _, argument = key.partition(".")
    if group in options and argument and not any(name.startswith(f"{group}.") for name in known):
        choice = next((name for name in options[group] if name not in ("none", "default")), "...")
        what = f"{group}=none has nothing to set"
        return Fault(key, what, "", f"{group}={choice} {key}={_written(override)}")
    hint = _meant(key, [*known, *options])
    law = f"did you mean `{hint}`?" if hint else "python train.py --cfg job shows every key"
    value = _written(override)
    if hint in options:
        value = nearest(value, options[hint]) or options[hint][0]
    return Fault(key, "no such key; nothing would read it", law, f"{hint}={value}" if hint else "")


def _meant(key: str, known: list[str]) -> str | None:
    """The key that was most likely meant: the same last word, another framework's word for it, the nearest spelling."""
    lower, leaf = key.lower(), key.lower().rpartition(".")[2]
    if lower in known:
        return lower
    if lower in ALIASES or leaf in ALIASES:
        alias = ALIASES.get(lower) or ALIASES[leaf]
        if alias in known:
            return alias
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    if len(same_leaf) == 1:
        return same_leaf[0]
    by_key = nearest(lower, known)
    if by_key is not None:
        return by_key
    leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
    close = nearest(leaf, leaves)
    return leaves[close] if close else None


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


def _show(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"[{','.join(_show(item) for item in value)}]" if isinstance(value, list) else str(value)


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
        newest = _newest_run()
        law = "" if newest else "there is none in runs/ yet"
        attempt = f"task={task} run={newest or 'runs/NAME'}"
        raise ConfigError(*faults, Fault("run", f"task={task} needs the folder of a run", law, attempt))
    folder = find_run(str(_text(run)))
    for group, choice in choices.items():
        law = "the run is rebuilt from its own config; values may change, choices may not"
        faults.append(Fault(group, f"cannot become {_first(choice)!r} in a run that was trained", law))
    choices.clear()
    return folder


def find_run(text: str) -> Path:
    """The run folder that `text` names, as a path or as a name below runs/. Raises ConfigError if it is none."""
    for folder in (Path(text).expanduser(), ROOT / text, ROOT / "runs" / text):
        if (folder / "config.yaml").is_file() and (folder / "run.json").is_file():
            return folder.resolve()
    newest = _newest_run()
    law = f"the newest is {newest}" if newest else "there is none in runs/ yet"
    raise ConfigError(Fault("run", f"no run at {text!r}", law, "python -m stride.report runs/"))


def _newest_run() -> str | None:
    runs = sorted((ROOT / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    return f"runs/{runs[-1].parent.name}" if runs else None


def load_config(folder: Path) -> "DictConfig":
    """The config.yaml of a run folder. Raises ConfigError if it cannot be read."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        cfg = OmegaConf.load(folder / "config.yaml")
        assert isinstance(cfg, DictConfig)
        return cfg
    except (OmegaConfBaseException, YAMLError, AssertionError, ValueError) as error:
        raise ConfigError(Fault("run", f"{folder / 'config.yaml'} cannot be read: {one_line(error)}")) from error
