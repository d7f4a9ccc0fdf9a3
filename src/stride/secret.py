"""What is a secret, by the name of its key; and what may be kept or shown of a text that could hold one."""

import os
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

BLANK = "***"  # in the place of a secret
SHORTEST = 8  # letters of a secret that is looked for in other texts

# A name is a secret's by a word of the first kind, by `key` or `token` beside one of the second (`api_keys_2`), or by
# ending in `key` or `token`: but for what a vocabulary has or what is counted (pad_token), and for data (image_key).
SECRET = re.compile(r".*(secret|password|passwd|passphrase|credential)s?|pwd|bearer|(api|ssh|access|private|auth)keys?")
ACCESS = re.compile(r"api|access|auth|private|signing|encryption")
NO_TOKEN = re.compile(
    r"pad|bos|eos|unk|mask|cls|sep|sos|start|end|stop|special|added|additional|image|n|num|max|min|per"
)
NO_KEY = re.compile(
    r"public|primary|foreign|image|label|input|output|target|data|features?|text|index|sort|group|cache|dict|column|"
    r"batch|score|metric|loss|query|split|sample|state|n|num|d|dim"
)
# `token=...` anywhere, `token: ...` after a brace or a comma; but for interpolations and for examples: `key=value`.
NAMED = re.compile(
    r"""((?<![\w-])([\w-]+)=|[{,]\s*['"]?([\w-]+)['"]?\s*:\s*)"""
    r"""(?!['"]?\$\{|\.\.\.|value(?:[;,]|$))(?:'[^']*'|"[^"]*"|\[[^\]]*\]|[^\s&;,{}\[\]'"]+)"""
)


@lru_cache(maxsize=10_000)
def is_secret(name: str) -> bool:
    """Whether a key, or a variable of the environment, of this name holds a secret: hf_token, apiKey, DB_PASSWORD."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)] or [""]

    def any_of(kind: re.Pattern[str]) -> bool:
        return any(map(kind.fullmatch, words))

    if any_of(SECRET) or (any_of(ACCESS) and {"key", "keys", "token", "tokens"}.intersection(words)):
        return True
    if words[-1].endswith(("token", "tokens")):
        return not any_of(NO_TOKEN)
    return words[-1] == "key" and not any_of(NO_KEY)


def without_secrets(node: Any, written: Any = None) -> Any:
    """A copy of nested dicts and lists with BLANK for each secret, and for its text wherever that turns up again.

    `written` is the same before interpolations were resolved: a secret that comes from one (`${oc.env:HF_TOKEN}`)
    becomes that again, which tells nothing and can be resolved anew.
    """
    return _blanked(node, written, secrets_in(node) | _of_the_environment(), inside=False)


def secrets_in(node: Any, *, inside: bool = False) -> set[str]:
    """The texts below keys that name a secret; without those that are too short to be told from others."""
    if isinstance(node, dict):
        below = (secrets_in(value, inside=_opens(key, value, inside)) for key, value in node.items())
        return set().union(*below)
    if isinstance(node, list):
        return set().union(*(secrets_in(item, inside=inside) for item in node))
    return {node} if inside and isinstance(node, str) and len(node) >= SHORTEST else set()


def without_secret(word: str) -> str:
    """A word of the line without the secret that its key names, and without those that its value holds."""
    key, equals, value = word.partition("=")
    inside = False
    for part in key.split("."):
        inside = _opens(part, _read(value), inside)
    if inside and not (_read(value) is None or _tells_nothing(value.strip("'\""), whole=True)):
        return f"{key}{equals}{BLANK}"
    return f"{key}{equals}{_hidden(value, _of_the_environment())}"


def shown(text: str, secrets: Collection[str] = ()) -> str:
    """A text for a person: without secrets, these and all that show as such, and printable."""
    return printable(_hidden(text, {*secrets, *_of_the_environment()}))


def printable(text: str) -> str:
    """A text without line ends, without characters that steer a terminal, and without those that turn its direction."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _blanked(node: Any, written: Any, secrets: Collection[str], *, inside: bool) -> Any:
    if isinstance(node, dict):
        old = written if isinstance(written, dict) else {}
        told: Any = {
            key: _blanked(value, old.get(key), secrets, inside=_opens(key, value, inside))
            for key, value in node.items()
        }
    elif isinstance(node, list):
        old = written if isinstance(written, list) else [None] * len(node)
        told = [_blanked(item, before, secrets, inside=inside) for item, before in zip(node, old, strict=True)]
    elif not isinstance(node, str | int | float) or isinstance(node, bool) or node == "":
        return node
    else:
        told = _hidden(node, secrets) if isinstance(node, str) else node
        told = BLANK if inside or any(map(is_secret, _referred(written))) else told
    return written if told != node and _tells_nothing(written, whole=inside) else told


def _opens(key: Any, value: Any, inside: bool) -> bool:
    """Whether what stands at a key is secret. A number of tokens is a count, and what has a `_target_` an object."""
    if isinstance(value, dict) and "_target_" in value:
        return False
    counted = isinstance(value, int | float) and str(key).endswith("tokens")
    return inside or (is_secret(str(key)) and not counted)


def _read(value: str) -> float | str | None:
    """A typed value as far as it matters here: a number, a text, or None for what is no secret by its kind."""
    if value.lower() in ("", "null", "true", "false"):
        return None
    try:
        return float(value)
    except ValueError:
        return value


def _referred(written: Any) -> list[str]:
    """The names in a text's interpolations, those of resolvers among them."""
    found = re.findall(r"\$\{[^}]*\}", written) if isinstance(written, str) else []
    return re.findall(r"\w+", " ".join(found))


def _tells_nothing(written: Any, *, whole: bool) -> bool:
    """Whether a text may be kept in a secret's place: it refers to it, has no default, and if `whole` nothing else."""
    if not _referred(written) or re.search(r"\$\{[^}]*,", written) or _hidden(written) != written:
        return False
    return not whole or re.fullmatch(r"\$\{[^{}]*\}", written) is not None


def _hidden(text: str, secrets: Collection[str] = ()) -> str:
    """A text without these secrets, without passwords of URLs, and without what follows a name that holds a secret."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, BLANK)
    text = re.sub(r"""(//[^/@:\s{]*):(?!\d+/|\$\{)[^\s'"]*@""", rf"\1:{BLANK}@", text)
    return NAMED.sub(lambda found: found[1] + BLANK if is_secret(found[2] or found[3]) else found[0], text)


def _of_the_environment() -> set[str]:
    values = {value for name, value in os.environ.items() if is_secret(name) and len(value) >= SHORTEST}
    return {value for value in values if not value.startswith(("/", "~", "."))}  # the path of a file is no secret
