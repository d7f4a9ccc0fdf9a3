"""task=stability on the screen and as files: the bounds, a row for each LR, stability.json, stability.png."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from stride.report.card import shown_path
from stride.report.plots import draw_descents
from stride.report.record import write_json

if TYPE_CHECKING:
    from stride.stability_check import Stability

NOT_MEANT = (
    "A limit bounds the LR, it does not choose it: the best LR may lie far below, and a run that warms up or decays "
    "may peak above.",
    "It holds at the initial weights: training sharpens the loss until the LR in use is the limit (arXiv 2103.00065), "
    "so less than 1 x may diverge later; above it the loss may also leap to where it is flatter, and fall (arXiv "
    "2003.02218).",
)
ADAPTS = (
    "{} divides by the root mean square of its gradients, here that of a long run that does not move: where they grow, "
    "so does the limit, and a spike may be all that comes of it."
)


def show(found: "Stability", folder: Path, notes: Sequence[str] = (), console: Console | None = None) -> None:
    """Write stability.json and stability.png, and print them."""
    console = console or Console()
    write_json(folder / "stability.json", found.as_dict())
    draw_descents(found.descents, folder / "stability.png")
    console.print(f"{found.optimizer} at the initial weights, {_data(found)}\n")
    for name, value, meaning in _bounds(found):
        console.print(f"{name:<12} [bold]{value:<11}[/] {meaning}", highlight=False, soft_wrap=True)
    console.print(_table(found))
    adapts = [] if found.optimizer == "SGD" else [ADAPTS.format(found.optimizer)]
    for note in (*NOT_MEANT, *adapts, *notes):
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"the picture: {shown_path(folder / 'stability.png')}", soft_wrap=True)


def _data(found: "Stability") -> str:
    of = f" of the {found.of} in an epoch" if found.batches < found.of < math.inf else ""
    return f"{found.samples} samples in {found.batches} batch{'es' * (found.batches > 1)}{of}"


def _bounds(found: "Stability") -> Iterator[tuple[str, str, str]]:
    bounds, limit = found.bounds, found.bounds.limit
    unit = "" if found.optimizer == "SGD" else f" in units of what {found.optimizer} divides by"
    alone = f"of single batches {min(bounds.alone):.4g} to {max(bounds.alone):.4g}"
    by = f"by {bounds.sharpness.products} products with the Hessian"
    yield "lambda_max", f"{bounds.sharpness.value:.4g}", f"the sharpness{unit}, {by}; {alone}"
    yield "ceiling", f"{limit.ceiling:.3g}", f"{limit.why}: above it steps on all of this data are unstable"
    yield "safe LR", f"{limit.safe:.3g}", "by the sharpness of single batches: below it steps on those are stable too"
    yield "critical LR", f"{bounds.critical.lr:.3g}", "from there on one step along the gradient raises the loss"
    yield "cost", f"{bounds.gradients:.0f}", "gradients of one batch, without the descents below"


def _table(found: "Stability") -> Table:
    """A row for each descent: its LR, and what the loss did."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("x ceiling", justify="right")
    table.add_column("LR", justify="right", no_wrap=True)
    table.add_column(f"loss, from {found.descents[0].losses[0]:.3g}", no_wrap=True)
    for descent in found.descents:
        table.add_row(f"{descent.times:g}", f"{descent.lr:.3g}", descent.verdict)
    return table
