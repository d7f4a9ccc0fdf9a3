"""The plan of the LR in every checkpoint, and the refusal of a resume that would change it in silence."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer

from stride.callbacks.lean import Lean
from stride.errors import ConfigError, Fault
from stride.horizon import horizon
from stride.keys import differences
from stride.lr.plan import TOLERANCE, Plan

PLACES = 65  # of the run, its ends included, at which two plans are compared
WAYS = (
    "resume.lr=keep (the old plan), resume.lr=stretch (the old law over the new length) or "
    "resume.lr=rewarm (a new plan from here on, with a warm-up)"
)


class LRPlan(Lean):
    """Writes a fingerprint of the plan into checkpoints: what was asked, the peak, the length, the LR all over the run.

    A resumed run whose fingerprint is another one is refused before its first step, also where no config says why:
    data of another size, a law whose code has changed.

    Args:
        asked: what the plan follows from, as plain data (`keys`, and how a resume changed them).
        changes: whether a resumed run is to have another plan than its checkpoint.
        begins: whether that is a new plan, which forgets what had changed the old one.

    Raises ConfigError where a resumed run would change its plan and was not told to.
    """

    def __init__(self, asked: dict[str, Any], *, changes: bool = False, begins: bool = False) -> None:
        self._asked, self._changes, self._begins = asked, changes, begins
        self._fingerprint: dict[str, Any] = {}
        self._plan: Plan | None = None
        self._resumed: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        run = horizon(trainer)
        self._plan = plan = getattr(pl_module, "plan", None)
        self._fingerprint = {"asked": self._asked, "steps": run.steps, "epoch_steps": run.epoch_steps}
        if plan is not None:
            self._fingerprint |= {"lr": plan.lr, "curve": _curve(plan)}
        if not self._resumed:
            return
        if not self._changes:
            _refuse_differences(self._resumed, self._fingerprint)
        if plan is not None:
            if not self._begins:
                plan.load_state_dict(self._resumed)
            if self._changes:
                plan.intervene(trainer.global_step, 1.0, f"resume.lr={self._asked['mode']}")
            for optimizer in trainer.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = plan.between_steps(trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Where nothing is left to train, Lightning passes over all that comes before.
        if not self._resumed or self._fingerprint or self._changes:
            return
        if changed := differences(self._resumed["asked"]["keys"], self._asked["keys"]):
            raise _refused(changed, f"nothing of its {self._resumed['steps']} steps is left to train")

    def state_dict(self) -> dict[str, Any]:
        return self._fingerprint | (self._plan.state_dict() if self._plan else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict


def _refuse_differences(before: dict[str, Any], now: dict[str, Any]) -> None:
    asked = differences(before["asked"]["keys"], now["asked"]["keys"])
    if not asked and before["steps"] == now["steps"] and _same(before, now):
        return
    raise _refused(asked, f"it was {_told(before)}, it would be {_told(now)}")


def _refused(asked: dict[str, tuple[Any, Any]], law: str) -> ConfigError:
    why = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in asked.items())
    what = f"it would change with {why}" if asked else "it would change, and no key says why: the data or the law has"
    return ConfigError(Fault("resume.lr", f"the plan of the LR is not the checkpoint's: {what}", law, WAYS))


def _curve(plan: Plan) -> list[list[float]]:
    last = (plan.horizon.steps or PLACES) - 1
    return [plan.at(round(place * last / (PLACES - 1))) for place in range(PLACES)]


def _same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    first, second = ([lr for lrs in told.get("curve", ()) for lr in lrs] for told in (before, now))
    peak = max([*first, *second], default=0.0)
    near = (abs(a - b) <= TOLERANCE * peak for a, b in zip(first, second, strict=False))
    return len(first) == len(second) and all(near)


def _told(fingerprint: dict[str, Any]) -> str:
    lrs = [max(each) for each in fingerprint.get("curve", ())]
    if not lrs:
        return f"{fingerprint['steps']} steps long"
    levels = f"{max(lrs):.4g} at most, {lrs[len(lrs) // 2]:.4g} half way, {lrs[-1]:.4g} at the end"
    return f"{levels} of {fingerprint['steps']} steps"
