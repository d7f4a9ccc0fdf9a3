"""The card that a run ends with."""

import os
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table

COLOURS = {
    "finished": "green",
    "stopped_early": "green",
    "diverged": "red",
    "failed": "red",
    "interrupted": "yellow",
}


def card(folder: Path, record: dict[str, Any], *, losses: str, verdict: str) -> RenderableType:
    """What a run reached, how its losses compare, why it ended, its LR, and where its files are."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    score = record["score"]
    scores = record["scores"]
    tested = {name: value for name, value in scores.items() if name.startswith("test/")}
    if tested:
        table.add_row(
            "test",
            "  ".join(f"{name.removeprefix('test/')} [bold]{value:.4f}[/]" for name, value in tested.items()),
        )
    validated = {name: value for name, value in scores.items() if name.startswith("val/")}
    if validated:
        shown = "  ".join(f"{name.removeprefix('val/')} {value:.4f}" for name, value in validated.items())
        table.add_row("validation", f"{shown}   [dim](best by {score['name']})[/]")
    if losses:
        table.add_row("losses", losses)
    table.add_row("why it ended", verdict)
    table.add_row("learning rate", lr_line(record["lr"]))
    table.add_row("cost", cost_line(record))
    here = shown_path(folder)
    if record["best_checkpoint"]:
        table.add_row("best weights", str(here / record["best_checkpoint"]))
    table.add_row("all files", f"{here}/")
    if (folder / "tensorboard").is_dir():
        table.add_row("look", f"tensorboard --logdir {here.parent}")
    colour = COLOURS.get(record["status"], "cyan")
    title = f"[bold]{record['id']}[/] · [{colour}]{record['status'].replace('_', ' ')}[/]"
    return Panel(table, title=title, title_align="left", border_style=colour)


def lr_line(lr: dict[str, Any]) -> str:
    """`asked 0.001, found 0.0031, used 0.0031` with the largest value that a step applied."""
    parts = [f"{name} {lr[name]:.4g}" for name in ("asked", "found", "used") if lr[name] is not None]
    if lr["peak"] is not None:
        parts.append(f"largest applied {lr['peak']:.4g}")
    why = f"   [dim]({lr['why']})[/]" if lr["why"] != "as asked" else ""
    return ", ".join(parts) + why


def cost_line(record: dict[str, Any]) -> str:
    seconds = {name: value for name, value in record["seconds"].items() if value is not None}
    times = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    length = ", ".join(f"{record[name]} {name[: -1 if record[name] == 1 else None]}" for name in ("steps", "epochs"))
    return f"{length}: {times} on {record['device']}" if record["steps"] else f"{times} on {record['device']}"


def shown_path(folder: Path) -> Path:
    """`folder` as one would type it here: relative where that is shorter."""
    relative = Path(os.path.relpath(folder))
    return folder if relative.parts[:1] == ("..",) else relative
