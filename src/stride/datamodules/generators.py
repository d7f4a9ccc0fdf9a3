"""Generators of random numbers other than the global ones: where somebody's code keeps them, and how each is seeded."""

import inspect
import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
METHODS = ("__getitem__", "__getitems__", "__call__", "forward", "__iter__")  # where samples and orders are drawn
WIDEST, MOST = 100, 5000  # parts of a container, and objects, that are searched


def found_in(owner: Any) -> dict[str, Any]:
    """Those in what `owner` is made of and in what its code names, by where."""
    found: dict[str, Any] = {}
    seen = {id(torch.default_generator), id(np.random.mtrand._rand)}
    left = [("", owner)]
    for where, one in left:  # which grows meanwhile
        if id(one) in seen or len(seen) > MOST:
            continue
        seen.add(id(one))
        if isinstance(one, GENERATORS):
            found[where] = one
            continue
        left += [(f"{where}.{name}".lstrip("."), part) for name, part in islice(_parts(one), WIDEST)]
    return found


def _parts(one: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(one, dict):
        yield from one.items()
    elif isinstance(one, list | tuple):
        yield from enumerate(one)
    elif isinstance(one, FunctionType):
        if not str(one.__module__).startswith(("torch.", "numpy.")):
            with suppress(ValueError):  # a variable that is not yet set
                named = inspect.getclosurevars(one)
                yield from {**named.globals, **named.nonlocals}.items()
    elif not isinstance(one, type | ModuleType):
        yield from getattr(one, "__dict__", {}).items()
        yield from ((name, getattr(type(one), name)) for name in METHODS if hasattr(type(one), name))


def reseed(generator: Any, seed: int) -> None:
    """Seed one of `GENERATORS`."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed >> 32)
    else:
        generator.seed(seed)
