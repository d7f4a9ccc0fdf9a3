"""Dotted keys (`optimizer.betas.0`) of nested dicts and lists."""

from collections.abc import Iterator
from typing import Any


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a nested dict with its value, the dicts themselves included."""
    for name, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{name}", value
        yield from flat(value, f"{prefix}{name}.")


def every(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested dicts and lists with its value, the dicts and lists themselves included."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in inside:
        yield f"{prefix}{name}", value
        yield from every(value, f"{prefix}{name}.")


def look_up(node: Any, key: str) -> tuple[bool, Any]:
    """Whether `key` is there, and its value, else None."""
    for part in key.split("."):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return False, None
    return True, node


def differences(before: Any, now: Any) -> dict[str, tuple[Any, Any]]:
    """The dotted keys of two nested dicts whose values differ, with both values; None where one lacks the key."""
    leaves = [{key: value for key, value in flat(node) if not isinstance(value, dict)} for node in (before, now)]
    keys = dict.fromkeys([*leaves[0], *leaves[1]])
    return {key: pair for key in keys if (pair := (leaves[0].get(key), leaves[1].get(key)))[0] != pair[1]}
