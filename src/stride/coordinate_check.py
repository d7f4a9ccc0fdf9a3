"""Do activations keep their size as a network widens? Under muP (param_groups=mup) they should.

python -m stride.coordinate_check model=transformer datamodule=text param_groups=mup widths=64,128,256,512

The words are those of train.py's line, and `widths`. The model is trained for a few steps at each width, at the line's
LR held constant, and the mean |h| of each layer's output is taken at the last of them. The exit code is 0 if for every
layer the slope of log |h| over log width is at most 0.1 in size, else 1. A picture goes to output_root. Where slopes
come with either sign it is noise: a smaller optimizer.lr or a larger batch takes it away.
Yang et al. 2022 (Tensor Programs V), arXiv 2203.03466, appendix D.1.

A width w stands for the arguments of `param_groups.base` in their proportions, the largest of them w; with other groups
for the model's own d_model, hidden or widths. Under muP the last layer starts at 0 here: the noise that it starts with
falls with the width, and would hide what it learns (appendix D.2).
"""

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride import build
from stride.errors import ConfigError, Exit, Fault
from stride.logs import log_file
from stride.lr.width import scaled, usual_base
from stride.names import ROOT
from stride.pipeline import checked

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import nn

WIDTHS = (64, 128, 256, 512)
STEPS, SEEDS = 4, 3
LIMIT = 0.1


@dataclass(frozen=True)
class Coordinates:
    """mean |h| of one layer's output at the last step, for each width, over seeds."""

    layer: str
    widths: Sequence[int]
    sizes: Sequence[float]

    @property
    def slope(self) -> float:
        """d log|h| / d log width, by least squares; nan where an activation is 0 or not finite."""
        if not all(0 < size < math.inf for size in self.sizes):
            return math.nan
        x, y = [math.log(width) for width in self.widths], [math.log(size) for size in self.sizes]
        across, up = sum(x) / len(x), sum(y) / len(y)
        return sum((a - across) * (b - up) for a, b in zip(x, y, strict=True)) / sum((a - across) ** 2 for a in x)

    @property
    def holds(self) -> bool:
        return abs(self.slope) <= LIMIT


def main(words: Sequence[str]) -> int:
    """Print the table and draw the picture; returns the exit code."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return Exit.DONE
    try:
        widths, words = _widths(words)
        cfg = checked(words).cfg
        found = coordinates(cfg, widths)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return Exit.BAD_INPUT
    picture = ROOT / cfg.output_root / "coordinate_check.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    _draw(found, picture)
    print(_table(found))
    outside = [one.layer for one in found if not one.holds]
    print(f"\n{len(outside)} of {len(found)} slopes are beyond {LIMIT}; picture: {picture}")
    return Exit.CRASH if outside else Exit.DONE


def coordinates(cfg: "DictConfig", widths: Sequence[int] = WIDTHS) -> list[Coordinates]:
    """Train a checked config's model for a few steps at each width, with several seeds, and measure at the last step.

    Raises ConfigError where it is not known which of the model's arguments are its widths.
    """
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    base = plain["param_groups"].get("base") or usual_base(plain["model"])
    if not base:
        law = "none of its arguments is d_model, hidden or widths"
        attempt = 'param_groups=mup "param_groups.base={width: 256}"'
        raise ConfigError(Fault("model", "which arguments are its widths is not known", law, attempt))
    sizes = [[_sizes(_of_width(cfg, base, width), seed) for seed in range(SEEDS)] for width in widths]
    return [
        Coordinates(layer, widths, [sum(size[layer] for size in of_width) / SEEDS for of_width in sizes])
        for layer in sizes[0][0]
    ]


def _of_width(cfg: "DictConfig", base: dict[str, Any], width: int) -> "DictConfig":
    cfg = cfg.copy()
    cfg.model.update(scaled(base, width))
    if "base" in cfg.param_groups:
        cfg.param_groups.update(base=base, zero_output=True)
    cfg.scheduler = {"_target_": "stride.lr.schedule.constant", "_partial_": True}
    return cfg


def _sizes(cfg: "DictConfig", seed: int) -> dict[str, float]:
    """mean |h| of the output of each module that has parameters, at the last step; `seed` is added to the run's own."""
    import torch

    sizes: dict[str, float] = {}

    def watch(name: str, module: "nn.Module") -> None:
        def record(module: "nn.Module", inputs: object, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                sizes[name] = output.detach().abs().mean().item()

        module.register_forward_hook(record)

    with tempfile.TemporaryDirectory() as folder, log_file(None):
        trainer, module, data = build.range_test(cfg, Path(folder), seed, STEPS)
        for name, part in module.named_modules():
            is_list = isinstance(part, torch.nn.Sequential | torch.nn.ModuleList | torch.nn.ModuleDict)
            if name not in ("", "network") and not is_list and any(True for _ in part.parameters()):
                watch(name.removeprefix("network."), part)
        trainer.fit(module, datamodule=data)
    return sizes


def _widths(words: Sequence[str]) -> tuple[list[int], list[str]]:
    """The widths that a line asks for, and its other words."""
    asked = [word.partition("=")[2] for word in words if word.startswith("widths=")]
    others = [word for word in words if not word.startswith("widths=")]
    if not asked:
        return list(WIDTHS), others
    parts = asked[-1].strip("[]").split(",")
    widths = sorted({int(part) for part in parts if part.strip().isdigit() and int(part) > 0})
    if len(widths) < 2 or len(widths) != len(parts):
        raise ConfigError(Fault("widths", f"got {asked[-1]!r}", "two or more different integers", "widths=64,128,256"))
    return widths, others


def _table(found: Sequence[Coordinates]) -> str:
    title = "mean |h| at width"
    longest = max(len(title), *(len(one.layer) for one in found))
    head = f"{title:<{longest}}" + "".join(f"{width:>10}" for width in found[0].widths) + f"{'slope':>9}"
    rows = [
        f"{one.layer:<{longest}}"
        + "".join(f"{size:>10.4g}" for size in one.sizes)
        + f"{one.slope:>+9.3f}{'' if one.holds else '  <'}"
        for one in found
    ]
    return "\n".join([head, *rows])


def _draw(found: Sequence[Coordinates], path: Path) -> None:
    """On the left mean |h| over the width, on the right each layer's slope and the limits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 1.5 + 0.22 * max(len(found), 10)), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = ["#0969da" if one.holds else "#d4580a" for one in found]
    for one, colour in zip(found, colours, strict=True):
        left.plot(one.widths, one.sizes, color=colour, lw=1.2, marker=".")
    left.set(xscale="log", yscale="log", xlabel="width", ylabel="mean |h| at the last step")
    left.set_xticks(found[0].widths, [str(width) for width in found[0].widths])
    left.minorticks_off()
    right.barh([one.layer for one in found], [one.slope for one in found], color=colours)
    right.invert_yaxis()
    for limit in (-LIMIT, LIMIT):
        right.axvline(limit, color="#30363d", ls=":")
    right.set_xlabel("slope of log |h| over log width")
    right.tick_params(axis="y", labelsize="small")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=144)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
