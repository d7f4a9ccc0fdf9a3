"""The checks in their order: nothing heavy is imported before what could forbid it, and no check ends another."""

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

from stride.doctor import signals
from stride.doctor.installer import project
from stride.doctor.row import Mark, Row
from stride.doctor.screen import live
from stride.errors import one_line
from stride.names import CONF

WITH_TRACEBACK = f"DEBUG=1 python -m {__package__}"
QUADRATIC = "a quadratic, trained by the same pipeline as any run"


def examined(console: Console, output_root: Path, scratch: Path | None) -> Iterator[tuple[str, list[Row]]]:
    """(title, rows) of each part, as it is done; a live line on `console` meanwhile. Training goes on in `scratch`."""
    from stride.doctor import compiled, devices, known_bad, requirements, storage, threads

    ask = partial(_asked, console)
    rows = [*ask("requirements", requirements.rows), *ask("known bad", known_bad.rows)]
    if not _stopping(rows):
        rows += ask("compiled packages", compiled.rows)
    if not _stopping(rows):
        rows += ask("imports", _imports)
    yield "environment", rows

    machine: list[Row] = []
    if stops := _stopping(rows):
        machine.append(_unchecked("devices, threads", stops))
    else:
        machine += [*ask("devices", devices.rows), *ask("threads", threads.rows)]
    machine += ask("storage", partial(storage.rows, output_root, scratch))
    yield "machine", machine

    stops = _stopping([*rows, *machine])
    if stops or scratch is None:
        yield QUADRATIC, [_unchecked("limit to resume", stops)]
    else:
        yield QUADRATIC, _trained(ask, scratch)


def _imports() -> Iterator[Row]:
    """Here, before anything else imports them; what is missing or broken among their own imports comes out."""
    began = time.perf_counter()
    try:
        import pytorch_lightning  # noqa: F401
        import torch  # noqa: F401
    except Exception as error:  # an OSError where a library is missing, and what else a package does at its top
        yield Row("imports", "failed", Mark.WRONG, one_line(error), project(), stops=True)
    else:
        yield Row("imports", f"torch and Lightning, in {time.perf_counter() - began:.1f} s")


def _trained(ask: Callable[[str, Callable[[], Iterator[Row]]], list[Row]], folder: Path) -> list[Row]:
    if not CONF.is_dir():
        return [Row("conf", f"not at {CONF}", Mark.WRONG, "the configs are not beside the package", project())]
    from stride.doctor.quadratic import accelerator, applied, finder, guard, limit, resumed

    checks = {
        "limit: SGD on both sides of it": limit.rows,
        "finder: a range test, and a run at what it finds": finder.rows,
        "warm-up, schedule, trace: a run step by step": applied.rows,
        "guard: a run far beyond the limit": guard.rows,
        "resume: a run that is stopped and goes on": resumed.rows,
        "accelerator: the same run there and on the CPU": accelerator.rows,
    }
    return [row for doing, check in checks.items() for row in ask(doing, partial(check, folder))]


def _asked(console: Console, doing: str, check: Callable[[], Iterator[Row]]) -> list[Row]:
    """The rows of a check, which is wrong where it breaks."""
    rows: list[Row] = []
    with live(console, doing):
        try:
            rows.extend(check())
        except Exception as error:
            if os.environ.get("DEBUG") == "1":
                console.print(traceback.format_exc(), markup=False)
            name = doing.partition(":")[0]
            rows.append(Row(name, "it could not be tried", Mark.WRONG, one_line(error), WITH_TRACEBACK))
        signals.look()
    return rows


def _stopping(rows: Iterable[Row]) -> list[str]:
    return [row.name for row in rows if row.stops]


def _unchecked(what: str, stops: list[str]) -> Row:
    return Row(what, f"mend {', '.join(stops)} first", Mark.UNCHECKED)
