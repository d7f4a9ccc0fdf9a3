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
from stride.keys import every, flat, look_up
from stride.secret import is_secret, shown, without_secret

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
TASKS = ("train", "tune", "plan", "stability", "test", "validate", "predict")
FROM_RUN = ("test", "validate", "predict")
FLAGS = {"help": "--help", "cfg": "--cfg job", "multirun": "-m", "info": "--info", "version": "--version"}
PARTS = ("model", "datamodule", "objective", "optimizer", "scheduler", "trainer", "param_groups")  # of every config
OTHER_CONFIG = ("--config", "--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd")
# Keys that hold a text, also where it looks like a number: name=007.
TEXTS = ("name", "run", "init_from", "resume.from", "output_root")

# What word processors and web pages make of plain characters.
TYPOGRAPHIC = {
    "-": "\N{MINUS SIGN}\N{EN DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}",
    "--": "\N{EM DASH}",
    "'": "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}",
    '"': "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}",
    " ": "\N{NO-BREAK SPACE}",
}
PLAIN = {ord(letter): plain for plain, letters in TYPOGRAPHIC.items() for letter in letters}

SEVERAL = ("callbacks", "logger")  # groups of which a run may have several choices

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


@dataclass(frozen=True)
class Names:
    """What a line may name: every key of a config with its default, and every group with its choices."""

    defaults: dict[str, Any]
    options: dict[str, list[str]]

    def meant(self, key: str) -> str | None:
        """What `key` was most likely meant to be: by another framework's word, by its last part, by spelling."""
        if "._" in key:
            return None
        known = [*self.defaults, *self.options]
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

    def word(self, name: str, value: str = "") -> str:
        """The word that sets `name` to `value`, or to what it may be."""
        if name in self.options:
            choices = self.options[name]
            usual = next((choice for choice in choices if choice not in ("none", "default")), choices[0])
            return f"{name}={nearest(value, choices) or usual}"
        default = self.defaults.get(name)
        usual = "true" if isinstance(default, bool) else "..." if isinstance(default, dict | None) else _show(default)
        return f"{name}={value or usual}"


def groups(conf: Path = CONF) -> dict[str, list[str]]:
    """Every group of conf/ and its options, read from disk."""
    folders = sorted(path for path in conf.iterdir() if path.is_dir())
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


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
    whole, loose = _joined(words, faults)
    parsed = [override for word in whole if (override := _parse(word, faults, loose)) is not None]
    _refuse_doubles(parsed, faults)
    options = groups(conf)
    several = [] if multirun else [override for override in parsed if override.is_sweep_override()]
    choices, values = _sorted([override for override in parsed if override not in several], options, faults)
    run_of = _run_of(values, choices, faults)
    base = _to_evaluate(load_config(run_of)) if run_of else _compose(choices, conf, values)
    faults += _strangers(base, set(options) | _front_keys(conf))
    names = Names(_defaults(base), options)
    faults += [_flag(word, value, names) if word.startswith("-") else _bare(word, names) for word, value in loose]
    faults += [_several_without_multirun(override, names) for override in several]
    cfg, swept = _apply(base, values, names, faults)
    if run_of:
        cfg.run = str(run_of)
    swept |= {key: list(_sweep_values(choice)) for key, choice in choices.items() if choice.is_sweep_override()}
    chosen = {key: str(_first(choice)) for key, choice in choices.items()}
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


def _joined(words: list[str], faults: list[Fault]) -> tuple[list[str], list[tuple[str, str]]]:
    """The words that set something; and all others, flags with the value that follows them.

    What a space tore apart (`lr = 0.1`, `widths=[32, 64]`, `length=5 steps`) is one fault.
    """
    waiting, whole, loose = list(words), [], []
    while waiting:
        word = waiting.pop(0)
        key, equals, value = word.partition("=")
        if word.startswith("-"):
            follows = not equals and bool(waiting) and _is_bare(waiting[0])
            loose.append((key, waiting.pop(0) if follows else value))
        elif rest := _torn_off(word, waiting):
            del waiting[: len(rest)]
            faults.append(_torn(word, rest))
        elif key and value and not word.startswith("~"):
            whole.append(word)
        else:
            loose.append((word, ""))
    return whole, loose


def _is_bare(word: str) -> bool:
    return "=" not in word and not word.startswith(("-", "~"))


def _torn_off(word: str, follow: list[str]) -> list[str]:
    """Those of the words after it that a space tore off this one."""
    key, equals, value = word.partition("=")
    if not word or not follow:
        return []
    if not equals and follow[0].startswith("="):
        return follow[: 2 if follow[0] == "=" else 1]
    is_number_of = re.fullmatch(r"[\d.]+", value) and re.fullmatch(r"%+|(step|epoch|second|minute|hour)s?", follow[0])
    if is_number_of or (key and equals and not value and _is_bare(follow[0])):
        return follow[:1]
    if _unclosed(value):
        for count in range(1, len(follow) + 1):
            if not _unclosed(" ".join([value, *follow[:count]])):
                return follow[:count]
    return []


def _torn(word: str, rest: list[str]) -> Fault:
    key = word.partition("=")[0]
    if word.endswith("=") or rest[0].startswith("="):
        return Fault(key, "has a space beside `=`", "", "".join([word, *rest]))
    return Fault(key, "is torn apart at a space", "quotes keep it together", shlex.quote(" ".join([word, *rest])))


def _unclosed(text: str) -> str:
    """The brackets and the quote that `text` opens and does not close, the innermost last."""
    still = ""
    for letter in text:
        if still.endswith(("'", '"')):
            still = still[:-1] if letter == still[-1] else still
        elif letter in "'\"([{":
            still += letter
        elif letter in ")]}":
            still = still[:-1]
    return still


def _flag(flag: str, value: str, names: Names) -> Fault:
    """What is told about a word that begins with a dash."""
    if flag in OTHER_CONFIG:
        recipe = nearest(value, names.options["experiment"]) or "NAME"
        law = "the one config is conf/train.yaml, a recipe is an experiment"
        return Fault(flag, "no such flag", law, f"experiment={recipe}")
    key = flag.lstrip("-").replace("-", "_")
    meant = names.meant(key)
    attempt = names.word(meant, value) if meant else _spelt(key, names)
    return Fault(flag, "no such flag", "words are key=value, without dashes", attempt)


def _bare(word: str, names: Names) -> Fault:
    """What is told about a word that sets nothing."""
    key, equals, value = word.partition("=")
    if not key.strip("+~ "):
        return Fault(repr(word), "has no key", "words are key=value; is a variable of the shell unset?")
    if problem := _typographic(word):
        return problem
    if word.startswith("~"):
        key = key.lstrip("~")
        off = f"{key}=none" if key in names.options else f"{key}=null"
        can_be_off = key in names.options or key.startswith(("callbacks.", "logger."))
        return Fault(word, "nothing is deleted here", "", off if can_be_off else names.word(key))
    key = key.lstrip("+")
    if value:
        return _unreadable(key, value, names)
    if equals:
        return Fault(key, "has no value", "is a variable of the shell unset?", names.word(names.meant(key) or key))
    key, colon, value = (part.strip() for part in word.partition(":"))
    if colon and (meant := names.meant(key)):
        return Fault(key, "is followed by `:`", "words are key=value", names.word(meant, value))
    law = f"choices: {', '.join(names.options[word])}" if word in names.options else "words are key=value"
    return Fault(word, "has no `=`", law, _spelt(word, names))


def _spelt(word: str, names: Names) -> str:
    """What holds `word`, or a word that is spelt like it: keys, tasks, choices and flags."""
    said = {name: [names.word(name)] for name in [*names.defaults, *names.options]}
    for task in TASKS:
        said.setdefault(task, []).append(f"task={task}")
    for group, choices in names.options.items():
        for choice in choices:
            said.setdefault(choice, []).append(f"{group}={choice}")
    for name, flag in FLAGS.items():
        said.setdefault(name, []).append(f"python train.py {flag}")
    close = nearest(word, said)
    return ", or ".join(said[close]) if close else ""


def _typographic(word: str) -> Fault | None:
    """What is told about a character that a word processor has put in, unless it stands in quotes."""
    outside = re.sub(r"'[^']*'|\"[^\"]*\"", lambda quoted: " " * len(quoted[0]), word)
    at = next((at for at, letter in enumerate(outside) if ord(letter) in PLAIN), None)
    if at is None:
        return None
    kind = {"'": "quote", '"': "quote", " ": "space"}.get(PLAIN[ord(word[at])], "minus")
    where = word.partition("=")[0].lstrip("+~").translate(PLAIN)
    return Fault(where, f"holds a typographic {kind} at column {at + 1}", "", word.translate(PLAIN))


def _parse(word: str, faults: list[Fault], loose: list[tuple[str, str]]) -> "Override | None":
    """What `word` sets; None where that is a fault, and a loose word where Hydra's grammar does not take it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, value = word.partition("=")
    bare = key.lstrip("+")
    problem = _typographic(word)
    if problem is not None:
        pass
    elif value.startswith("="):
        problem = Fault(bare, "has two `=`", "one is enough", f"{key}={value.lstrip('=')}")
    elif key != key.strip() or value != value.strip():
        problem = Fault(bare.strip(), "has a space beside `=`", "", f"{key.strip()}={value.strip()}")
    elif value.endswith(",") and not _unclosed(value):
        problem = Fault(bare, f"ends with a comma: {value!r}", "no value follows it", f"{key}={value.rstrip(',')}")
    elif "/" in bare and not bare.startswith("hydra"):
        problem = Fault(bare, "`/` does not set a value", "use `.`", f"{bare.replace('/', '.')}={value}")
    if problem is not None:
        faults.append(problem)
        return None
    try:
        override = OverridesParser.create().parse_override(word)
    except (HydraException, ValueError, AssertionError, TypeError):
        loose.append((word, ""))
        return None
    if override.package is not None:
        law = "a group has one place"
        faults.append(Fault(bare, "`@` has no effect here", law, f"{override.key_or_group}={value}"))
        return None
    return override


def _unreadable(key: str, value: str, names: Names) -> Fault:
    """What is told about a value that Hydra's grammar does not take."""
    what = f"cannot read the value {value!r}"
    if still := _unclosed(value):
        closing = {"(": ")", "[": "]", "{": "}"}
        whole = value + "".join(closing.get(mark, "") for mark in reversed(still))
        whole = whole if still[-1] in closing else whole.replace(still[-1], "")
        return Fault(key, what, f"`{still[-1]}` is not closed", shlex.quote(f"{key}={whole}"))
    if value.startswith("~"):
        return Fault(key, what, "`~` is not expanded here", shlex.quote(f"{key}={Path(value).expanduser()}"))
    if isinstance(names.defaults.get(key), int | float | list):
        return Fault(key, what, "", names.word(key))
    law = "a value with spaces or = : , ( [ { needs quotes of its own"
    return Fault(key, what, law, f"\"{key}='{value}'\"")


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


def _several_without_multirun(override: "Override", names: Names) -> Fault:
    key, text = override.key_or_group, _written(override)
    if re.fullmatch(r"0,\d+", text):
        return Fault(
            key,
            f"{text!r} is two values",
            "decimals take a point; several values need -m",
            f"{key}={text.replace(',', '.')}",
        )
    is_list = key in SEVERAL or isinstance(names.defaults.get(key), list)
    attempt = f"{key}=[{text}]" if is_list else f"python train.py -m {override.input_line}"
    return Fault(key, f"several values ({text})", "a sweep needs -m", attempt)


def _written(override: "Override") -> str:
    return (override.input_line or "").partition("=")[2]


# --- groups ----------------------------------------------------------------------------------------------------


def _option_is_known(override: "Override", options: dict[str, list[str]], faults: list[Fault]) -> bool:
    group, known = override.key_or_group, options[override.key_or_group]
    given = list(_sweep_values(override)) if override.is_sweep_override() else [override.value()]
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
        given = list(_sweep_values(override)) if override.is_sweep_override() else [_text(override.value())]
        if key in TEXTS and isinstance(given[0], int | float):
            given = list(map(str, given)) if override.is_sweep_override() else [_written(override)]
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
    if value == "None":
        usual = "null" if default is None else _show(default)
        return refuse("'None' is but a text here", "nothing is written null", f"{key}={usual}")
    if not found and value in ("yes", "no", "on", "off"):
        return refuse(f"expected true or false, got {value!r}", "", f"{key}={_show(value in ('yes', 'on'))}")
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
            return refuse(f"expected a number, got {value!r}", "", f"{key}={_number_in(value) or _show(default)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return refuse(f"expected a number, got {_show(value)}", "", f"{key}={_show(default)}")
    if isinstance(default, int) and isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")) or value != int(value):
            return refuse(f"expected an integer, got {value}", "", f"{key}={_show(default)}")
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
        return Fault(key, what, "", f"{names.word(group)} {key}={_written(override)}")
    hint = names.meant(key)
    law = f"did you mean `{hint}`?" if hint else "python train.py --cfg job shows every key"
    return Fault(key, "no such key; nothing would read it", law, names.word(hint, _written(override)) if hint else "")


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
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{_show(item)}' for name, item in value.items())}}}"
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


def _to_evaluate(cfg: "DictConfig") -> "DictConfig":
    """A run's own config without what it came from and what watched it, which need not be there, and without trust."""
    cfg.callbacks = {"progress": (cfg.get("callbacks") or {}).get("progress")}
    cfg.logger = {}
    cfg.trainer.profiler = None
    cfg.init_from, cfg.resume = None, {"from": "auto", "lr": "refuse"}
    cfg.trust_checkpoint = False  # only who types this line can say so, and not who made the run
    return cfg


def load_config(folder: Path) -> "DictConfig":
    """The config.yaml of a run folder. Raises ConfigError if it cannot be read."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = folder / "config.yaml"
    try:
        cfg = OmegaConf.load(path)
        whole = isinstance(cfg, DictConfig) and all(isinstance(cfg.get(part), DictConfig) for part in PARTS)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(Fault("run", f"{path} cannot be read: {one_line(error)}")) from error
    if not whole:
        raise ConfigError(Fault("run", f"{path} is no run's config", f"it has {', '.join(PARTS)}"))
    if not all(key.isprintable() for key, _ in every(OmegaConf.to_container(cfg, resolve=False))):
        raise ConfigError(Fault("run", f"{path} has a key that would steer a terminal"))
    return cfg
