"""The words of a line: what Hydra's own parser makes of each, and what is told of those that it does not take."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride.errors import Fault, nearest
from stride.names import FLAGS, TASKS, Names, groups

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

OTHER_CONFIG = ("--config", "--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd")
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


def joined(words: list[str], faults: list[Fault]) -> tuple[list[str], list[tuple[str, str]]]:
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


def flag_fault(flag: str, value: str, names: Names) -> Fault:
    """What is told about a word that begins with a dash."""
    if flag in OTHER_CONFIG:
        recipe = nearest(value, names.options["experiment"]) or "NAME"
        law = "the one config is conf/train.yaml, a recipe is an experiment"
        return Fault(flag, "no such flag", law, f"experiment={recipe}")
    key = flag.lstrip("-").replace("-", "_")
    meant = names.meant(key)
    attempt = names.word(meant, value) if meant else _spelt(key, names)
    return Fault(flag, "no such flag", "words are key=value, without dashes", attempt)


def bare_fault(word: str, names: Names) -> Fault:
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


def parse(word: str, faults: list[Fault], loose: list[tuple[str, str]]) -> "Override | None":
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


def refuse_doubles(parsed: list["Override"], faults: list[Fault]) -> None:
    """Add a fault for each key that is given more than once."""
    seen: dict[str, list[str]] = {}
    for override in parsed:
        seen.setdefault(override.key_or_group, []).append(written(override))
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


def several_fault(override: "Override", names: Names) -> Fault:
    """What is told about several values where nothing is swept."""
    key, text = override.key_or_group, written(override)
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


def written(override: "Override") -> str:
    """A value as it was typed."""
    return (override.input_line or "").partition("=")[2]


def first(override: "Override") -> Any:
    """The value, or the first of several; a group that is off has the choice `none`."""
    value = next(sweep_values(override)) if override.is_sweep_override() else override.value()
    return "none" if value is None or value is False else value


def sweep_values(override: "Override") -> Iterator[Any]:
    """The values a sweep override names; the two ends of an interval."""
    from hydra.core.override_parser.types import Glob, IntervalSweep, QuotedString

    value = override.value()
    if isinstance(value, Glob):
        found = iter(value.filter(groups().get(override.key_or_group, [])))
    else:
        found = (value.start, value.end) if isinstance(value, IntervalSweep) else override.sweep_iterator()
    for one in found:
        yield one.text if isinstance(one, QuotedString) else one


def text_of(value: Any) -> Any:
    """A value without the quotes that it was typed in."""
    from hydra.core.override_parser.types import QuotedString

    return value.text if isinstance(value, QuotedString) else value
