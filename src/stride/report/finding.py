"""What the tune stage found, on the screen: the card of task=tune, with the lines that go on from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from stride.report.card import shown_path
from stride.secret import without_secret

if TYPE_CHECKING:
    from stride.lr.finding import Finding


def show_finding(
    folder: Path, finding: "Finding", asked: float, why: str, words: Sequence[str], console: Console | None = None
) -> None:
    """Print the card, and below it the lines that train with what was found and that search around it.

    Args:
        asked: the LR that was typed, or the optimizer's own.
        words: the overrides of the line that ran.
    """
    console = console or Console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    found = finding.suggestion
    table.add_row("learning rate", f"[bold]{found.lr:.3g}[/]" if found.lr else "none found")
    table.add_row("because", why)
    if found.low and found.high:
        table.add_row("90 % interval", f"{found.low:.2g} to {found.high:.2g}")
    diverged = [f"{curve.diverged:.2g}" for curve in finding.curves if curve.diverged]
    table.add_row("ran away at", ", ".join(diverged) or "no LR of the sweep")
    if finding.limit and finding.limit.ceiling:
        beyond = (
            "its first weights' limits for steps on small batches and on all data; they bound an LR, they choose none"
        )
        table.add_row("unstable above", f"{finding.limit.safe:.2g} to {finding.limit.ceiling:.2g}   [dim]({beyond})[/]")
    table.add_row("asked", f"{asked:.3g}")
    table.add_row("horizon", f"{finding.horizon} steps" if finding.horizon else "not known in steps")
    sweeps = "a sweep" if len(finding.curves) == 1 else f"{len(finding.curves)} sweeps"
    tried = f", a trial of {len(finding.trial.losses)}" if finding.trial else ""
    if finding.rehearsed:
        size, rates = finding.rehearsed.extent, len(finding.rehearsed.rehearsals)
        tried += f", {rates * size.orders} rehearsals of {size.steps}"
    table.add_row("cost", f"{finding.steps} steps: {sweeps}{tried}, by {finding.engine}; {finding.seconds:.1f} s")
    table.add_row("the curve", str(shown_path(folder / "lr_finder" / "curve.png")))
    colour = "green" if found.lr else "yellow"
    console.print(Panel(table, title="[bold]learning-rate finder[/]", title_align="left", border_style=colour))
    line = " ".join(["python train.py", *(without_secret(word) for word in words if not _is_of_the_search(word))])
    if found.lr is not None:
        console.print(f"to train:  [bold]{line} optimizer.lr={found.lr:.3g}[/]", soft_wrap=True, highlight=False)
    if found.low and found.high:
        bracket = f"'optimizer.lr=tag(log,interval({found.low:.2g},{found.high:.2g}))'"
        sweep = line.replace("train.py", "train.py -m sweep=bayes", 1)
        console.print(f"to search: {sweep} {bracket}", soft_wrap=True, highlight=False)


def _is_of_the_search(word: str) -> bool:
    key = word.lstrip("+~").partition("=")[0]
    return key in ("task", "name", "optimizer.lr", "lr_finder") or key.startswith("lr_finder.")
