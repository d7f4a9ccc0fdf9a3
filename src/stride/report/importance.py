"""How much of the difference between scores each swept key explains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stride.report.scale import Scale
from stride.report.table import Row
from stride.report.worth import Start

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST = 4  # runs


def importances(rows: Sequence[Row], keys: Sequence[str], start: Start | None) -> dict[str, float]:
    """Key -> its share of 1, the largest first: Optuna's default evaluator, PED-ANOVA (arXiv 2304.10255).

    Only runs that have a score and all the keys count, those that diverged with the untrained network's score. Empty
    where that leaves fewer than `FEWEST` runs, fewer than two keys with several values, or no difference in score.
    """
    if start is None:
        return {}
    told = [(row, score) for row in rows if (score := start.counted(row)) is not None]
    told = [(row, score) for row, score in told if all(key in row.words for key in keys)]
    keys = [key for key in keys if len({row.words[key] for row, _ in told}) > 1]
    if len(told) < FEWEST or len(keys) < 2 or len({score for _, score in told}) < 2:
        return {}
    # Optuna takes a second to import, most of it for an evaluator that is not asked here.
    import optuna
    from optuna.importance import get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scales = {key: Scale.of(key, [row.words[key] for row, _ in told]) for key in keys}
    distributions = {key: _distribution(scale) for key, scale in scales.items()}
    study = optuna.create_study(direction="maximize" if told[0][0].mode == "max" else "minimize")
    study.add_trials(
        optuna.trial.create_trial(
            params={key: _value(scales[key], row.words[key]) for key in keys}, distributions=distributions, value=score
        )
        for row, score in told
    )
    return get_param_importances(study)


def _distribution(scale: Scale) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if scale.axis is None:
        return CategoricalDistribution(scale.choices)
    return FloatDistribution(scale.axis.low, scale.axis.high, log=scale.axis.log)


def _value(scale: Scale, text: str) -> str | float:
    return scale.choices[scale.order[text]] if scale.axis is None else float(text)
