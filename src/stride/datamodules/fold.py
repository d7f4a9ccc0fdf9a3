"""One fold of a cross-validation: which samples it trains on, and on which it validates.

Imports neither torch nor scikit-learn at its top: the names of the splitters are read before torch is there.
"""

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SPLITTERS = ("auto", "kfold", "stratified", "group", "repeated")


class CannotFold(ValueError):
    """What cannot be cut: the argument of `Fold` that it is about, what is wrong, why, and arguments that would do."""

    def __init__(self, argument: str, what: str, law: str = "", **instead: Any) -> None:
        super().__init__(f"{argument}: {what}{f'; {law}' if law else ''}")
        self.argument, self.what, self.law, self.instead = argument, what, law, instead


@dataclass
class Fold:
    """Fold `number` (from 0) of `folds`, or of `folds * repeats` with the splitter `repeated`.

    A datamodule that can be cross-validated has an attribute `fold`, which is None. In a cross-validation a Fold is
    put there before `setup`, which then splits train plus validation by it, and leaves the test samples as they are:

        if self.fold is not None:
            train, val = self.fold(len(samples), labels=labels)

    `InMemory` does so for everything that its subclasses load. `used` says whether anyone has split by it.
    """

    folds: int
    number: int
    splitter: str = "auto"
    repeats: int = 1
    used: bool = field(default=False, init=False)

    def __call__(
        self,
        samples: int,
        *,
        labels: "np.ndarray | None" = None,
        groups: "np.ndarray | None" = None,
        in_order: bool = False,
        seed: int = 0,
    ) -> tuple["np.ndarray", "np.ndarray"]:
        """Indices of the training and of the validation samples, as scikit-learn's splitter gives them.

        Over all folds (of one repetition) each sample validates exactly once.

        Args:
            samples: how many there are for training and validation.
            labels: the class of each, (samples,); each fold then holds the classes in proportion. None: no classes.
            groups: what each belongs to (a patient, a speaker), (samples,); no group is on both sides.
            in_order: neighbours belong together (a text, a time series), so folds are contiguous blocks.
            seed: of the shuffle before blocks are cut; the same for all folds and runs that are to be compared.

        Raises CannotFold for a splitter that needs what is not given, and where a fold would lack samples, a group or
        a class.
        """
        import numpy as np

        self.used = True
        kind = self._kind(labels is not None, groups is not None, in_order)
        most, scarce = _most_folds(kind, samples, labels, groups)
        if self.folds > most:
            what = f"{self.folds} folds need as many {scarce} for training and validation"
            without_classes = self._once("kfold") if kind.endswith("stratified") else {}
            raise CannotFold("folds", what, f"got {most}", **({"folds": most} if most >= 2 else without_classes))
        splitter = self._splitter(kind, in_order, seed)
        try:
            parts = splitter.split(np.zeros(samples), labels, groups if kind == "group" else None)
            return next(islice(parts, self.number, None))
        except ValueError as error:  # of labels that are no classes
            raise CannotFold("splitter", str(error)) from error

    def _kind(self, classes: bool, groups: bool, in_order: bool) -> str:
        """The splitter that is asked for, or the one that suits the data."""
        if self.splitter == "auto":
            return "group" if groups else "kfold" if in_order or not classes else "stratified"
        if self.splitter == "group" and not groups:
            law = "a datamodule offers them as `groups`, one for each sample"
            raise CannotFold("splitter", "group needs groups, and the data offers none", law, splitter="auto")
        if self.splitter == "stratified" and not classes:
            raise CannotFold("splitter", "stratified needs classes, and the data has none", splitter="kfold")
        if self.splitter in ("stratified", "repeated") and in_order:
            law = "its neighbours belong together, so folds are contiguous blocks, the same each time"
            raise CannotFold("splitter", f"{self.splitter} would shuffle data in order", law, **self._once("kfold"))
        return "repeated_stratified" if self.splitter == "repeated" and classes else self.splitter

    def _once(self, splitter: str) -> dict[str, Any]:
        return {"splitter": splitter, **({"repeats": 1} if self.repeats > 1 else {})}

    def _splitter(self, kind: str, in_order: bool, seed: int) -> Any:
        from sklearn import model_selection as of  # takes 0.1 to 0.5 s

        shuffled: dict[str, Any] = {"shuffle": False} if in_order else {"shuffle": True, "random_state": seed}
        if kind == "group":
            return of.GroupKFold(self.folds)
        if kind == "kfold":
            return of.KFold(self.folds, **shuffled)
        if kind == "stratified":
            return of.StratifiedKFold(self.folds, **shuffled)
        made = {"repeated": of.RepeatedKFold, "repeated_stratified": of.RepeatedStratifiedKFold}[kind]
        return made(n_splits=self.folds, n_repeats=self.repeats, random_state=seed)


def _most_folds(kind: str, samples: int, labels: "np.ndarray | None", groups: "np.ndarray | None") -> tuple[int, str]:
    """How many folds there can be, and of what each needs its own. scikit-learn itself only warns of a rare class."""
    import numpy as np

    if kind == "group" and groups is not None:
        return len(np.unique(groups)), "groups"
    if kind.endswith("stratified") and labels is not None:
        classes, counts = np.unique(labels, return_counts=True)
        return int(counts.min()), f"samples of class {classes[counts.argmin()]}"
    return samples, "samples"
