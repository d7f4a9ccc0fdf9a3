"""Folds taken together: means, their standard errors, and what cannot be told."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from stride.report.cross_validation import card, mean, standard_error, together

VALUES = [0.31, 0.29, 0.4, 0.355, 0.28]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_mean_and_standard_error_are_numpys(count):
    values = VALUES[:count]
    assert mean(values) == pytest.approx(np.mean(values), rel=1e-12)
    assert standard_error(values) == pytest.approx(np.std(values, ddof=1) / np.sqrt(count), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], (None, None)), ([0.5], (0.5, None)), ([0.5, None], (None, None)), ([0.5, math.nan], (None, None))],
)
def test_what_the_values_do_not_say_is_not_told(values, expected):
    assert (mean(values), standard_error(values)) == expected


def fold(number, status="finished", found=None, **scores):
    return {
        "id": f"fold-{number}",
        "status": status,
        "scores": {"val/loss": 0.5 + number, **scores},
        "last": {"val/loss": 0.6 + number},
        "score": {"name": "val/loss", "mode": "min", "value": 0.5 + number},
        "lr": {"asked": 0.1, "found": found, "used": found or 0.1, "peak": found or 0.1, "why": f"at {found}"},
        "steps": 10,
        "epochs": 2,
        "seconds": {"setup": 0.5, "tune": None, "fit": 1.0, "test": None},
        "device": "cpu",
    }


def test_scores_are_averaged_and_costs_are_added():
    told = together([fold(0, **{"test/acc": 1.0}), fold(1, "stopped_early", **{"test/acc": 0.5})])
    assert told["scores"] == {"val/loss": 1.0, "test/acc": 0.75}
    assert told["last"] == {"val/loss": 1.1}
    assert told["score"] == {"value": 1.0}
    assert told["folds"]["standard_error"] == {"val/loss": 0.5, "test/acc": 0.25}
    assert (told["steps"], told["epochs"]) == (20, 4)
    assert told["seconds"] == {"setup": 1.0, "tune": None, "fit": 2.0, "test": None}
    assert told["lr"] == {"found": None, "used": 0.1, "peak": 0.1, "why": "at None"}


def test_a_score_that_not_all_folds_have_is_no_mean():
    assert "test/acc" not in together([fold(0), fold(1, **{"test/acc": 0.5})])["scores"]


@pytest.mark.parametrize(("status", "score"), [("interrupted", 0.5), ("failed", 0.5), ("diverged", None)])
def test_a_fold_that_did_not_end_is_in_no_mean_and_one_that_diverged_leaves_no_score(status, score):
    told = together([fold(0), fold(1, status)])
    assert told["scores"] == {"val/loss": 0.5}
    assert told["score"] == {"value": score}
    assert [each["status"] for each in told["folds"]["each"]] == ["finished", status]


def test_of_different_rates_each_is_told_and_none_is_the_one():
    told = together([fold(0, found=0.01), fold(1, found=0.03)])["lr"]
    assert (told["found"], told["used"], told["peak"]) == (None, None, 0.03)
    assert told["why"] == "each fold found its own: 0.01, 0.03"


def test_a_card_has_the_means_and_a_row_for_each_fold(tmp_path):
    folds = [fold(0, **{"test/acc": 1.0}), fold(1, **{"test/acc": 0.5})]
    record = {
        "id": "mine",
        "status": "finished",
        "score": {"name": "val/loss"},
        **{key: value for key, value in together(folds).items() if key != "score"},
    }
    record["lr"]["asked"] = 0.1
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(card(tmp_path, record, folds, "all folds done"))
    text = " ".join(console.export_text().replace("│", " ").split())
    for said in (
        "mine · finished · cross-validation",
        "val/loss 1.0000 ± 0.5000 (the score)",
        "test/acc 0.7500 ± 0.2500",
        "mean ± standard error of 2 folds",
        "why it ended all folds done",
        "fold-0 finished 0.5000 1.0000 0.1 10",
        "fold-1 finished 1.5000 0.5000 0.1 10",
    ):
        assert said in text
