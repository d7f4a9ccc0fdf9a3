"""Which engine sweeps the LR in a range test. Needs no torch: what is typed is refused before it is there."""

from collections.abc import Iterator, Sequence

from stride.errors import ConfigError, Fault

LIGHTNING, RAMP = ENGINES = ("lightning", "ramp")


def engine_of(
    asked: str | None, *, accumulated: int, processes: int, manual: bool = False, hooks: Sequence[str] = ()
) -> str:
    """The engine that was asked for; where none was, Lightning's own wherever it can serve, else our ramp.

    Args:
        accumulated: batches to one optimizer step.
        processes: of the whole run.
        manual: whether the module steps its optimizers by itself.
        hooks: what the module does to its optimizer by itself (its own `configure_optimizers`, ...).

    Raises ConfigError where Lightning's was asked for and cannot serve.
    """
    faults = [
        Fault("lr_finder.engine", f"lightning cannot sweep {what}", why, f"lr_finder.engine={RAMP}")
        for what, why in _out_of_reach(accumulated, processes, manual, hooks)
    ]
    if asked == LIGHTNING and faults:
        raise ConfigError(faults[0])
    return asked or (RAMP if faults else LIGHTNING)


def _out_of_reach(accumulated: int, processes: int, manual: bool, hooks: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What Lightning's finder cannot sweep, and what it would do to it."""
    if accumulated > 1:
        yield f"a run that accumulates {accumulated} batches to a step", "of each step it reads the last batch alone"
    if processes > 1:
        yield f"a run of {processes} processes", "it reads the loss of the first alone"
    if manual:
        yield "a module of manual optimization", "it would leave the LR as it is"
    if hooks:
        yield f"a module with its own {' and '.join(hooks)}", "it does not see what that does to the LR"
