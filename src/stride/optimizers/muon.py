"""Muon for the matrices of a network and AdamW for everything else, as one torch optimizer."""

import math
from collections.abc import Callable
from itertools import compress
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

_KINDS = ("muon", "adamw")


class MuonAdamW(torch.optim.Optimizer):
    """Muon where a parameter is a matrix, AdamW where it is not, in one list of `param_groups`.

    A matrix is a parameter with at least two dimensions; a kernel of a convolution counts as the matrix
    (channels out, everything else). A group may settle it with `kind`: "muon" or "adamw", which is how
    embeddings and heads are left to AdamW. A group that needs both becomes two, with the same options and
    `_muon` and `_adamw` added to its name. `params` may be anything that a torch optimizer takes.

    The update of a matrix is scaled to the RMS of AdamW's, so one `lr` (>= 0, in AdamW's units) and one
    `weight_decay` (>= 0, decoupled) serve both rules. `momentum` and `ns_steps` belong to Muon, `betas` and
    `eps` to AdamW.

    Muon: Jordan 2024, https://kellerjordan.github.io/posts/muon/; scale: Liu et al. 2025, arXiv 2502.16982;
    AdamW: Loshchilov & Hutter 2019, arXiv 1711.05101.

    Raises ValueError if an option or a `kind` is out of range, or if no parameter is a matrix, as under FSDP
    with flat shards, where Muon would silently be AdamW.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        laws = {
            f"`lr >= 0` must hold, but got lr={lr}": lr >= 0,
            f"`weight_decay >= 0` must hold, but got weight_decay={weight_decay}": weight_decay >= 0,
            f"`0 <= momentum < 1` must hold, but got momentum={momentum}": 0 <= momentum < 1,
            f"`ns_steps >= 1` must hold, but got ns_steps={ns_steps}": ns_steps >= 1,
            f"`0 <= beta < 1` must hold, but got betas={betas}": all(0 <= beta < 1 for beta in betas),
            f"`eps >= 0` must hold, but got eps={eps}": eps >= 0,
        }
        for law, holds in laws.items():
            if not holds:
                raise ValueError(law)
        # Every group holds the options of both rules: OneCycleLR and CyclicLR write `betas` into all groups.
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "ns_steps": ns_steps,
            "betas": tuple(betas),
            "eps": eps,
        }
        super().__init__(params, defaults)
        if all(group["kind"] == "adamw" for group in self.param_groups):
            raise ValueError("`ndim >= 2` must hold for at least one parameter, but it does for none; use AdamW")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, or two if some of its parameters are matrices and some are not."""
        super().add_param_group(param_group)  # torch checks it and fills in the defaults
        self.param_groups += _by_kind(self.param_groups.pop())

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns what `closure` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learning = [(p, p.grad) for p in group["params"] if p.grad is not None]
            update = self._muon if group["kind"] == "muon" else self._adamw
            update(learning, group)
        return loss

    def _muon(self, learning: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        for p, grad in learning:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
            nesterov = grad.lerp(buffer, momentum)
            update = orthogonalize(nesterov.flatten(1), steps=group["ns_steps"])
            # An orthogonal matrix of shape (A, B) has RMS 1/sqrt(max(A, B)); AdamW's updates have about 0.2.
            scale = 0.2 * math.sqrt(max(update.shape))
            p.mul_(1 - lr * group["weight_decay"])
            p.add_(update.reshape(p.shape), alpha=-lr * scale)

    def _adamw(self, learning: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        params = [p for p, _ in learning]
        for p in params:
            if not self.state[p]:
                self.state[p] |= {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        beta1, beta2 = group["betas"]
        adamw(
            params,
            [grad for _, grad in learning],
            [self.state[p]["exp_avg"] for p in params],
            [self.state[p]["exp_avg_sq"] for p in params],
            [],
            [self.state[p]["step"] for p in params],
            has_complex=any(p.is_complex() for p in params),
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(matrix: Tensor, *, steps: int) -> Tensor:
    """A matrix with the singular vectors of `matrix` (rows, columns) and singular values of about 0.7 to 1.2.

    `steps` of the quintic Newton-Schulz iteration in bfloat16, with the coefficients of Jordan 2024: they are
    chosen for the steepest slope at zero, not to converge to 1.
    """
    tall = matrix.size(0) > matrix.size(1)
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / x.norm().clamp(min=1e-7)  # spectral norm at most 1; a zero gradient stays zero
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if tall else x


def _by_kind(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The group with its kind settled, or one group for each kind that its parameters need."""
    params, asked = group["params"], group.get("kind")
    if asked not in (None, *_KINDS):
        raise ValueError(f'`kind` must be "muon" or "adamw", but got kind={asked!r}')
    if asked == "muon" and any(p.ndim < 2 for p in params):
        shapes = [tuple(p.shape) for p in params if p.ndim < 2]
        raise ValueError(f'`ndim >= 2` must hold in a group with kind="muon", but got shapes {shapes}')
    kinds = [asked or ("muon" if p.ndim >= 2 else "adamw") for p in params]
    needed = [kind for kind in _KINDS if kind in kinds]
    if len(needed) == 1:
        return [group | {"kind": needed[0]}]
    return [_part(group, kind, [k == kind for k in kinds]) for kind in needed]


def _part(group: dict[str, Any], kind: str, chosen: list[bool]) -> dict[str, Any]:
    part = group | {"kind": kind, "params": list(compress(group["params"], chosen))}
    if "param_names" in group:
        part["param_names"] = list(compress(group["param_names"], chosen))
    if "name" in group:
        part["name"] = f"{group['name']}_{kind}"
    return part
