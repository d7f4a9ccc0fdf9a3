"""What a trial says of the LR that it was run at."""

import math

import pytest

from stride.lr import ramp
from stride.lr.flow_time import Course, flow_time
from stride.lr.schedule import constant, cosine, times
from stride.lr.suggest import Outcome, Suggestion
from stride.lr.trial import Leap, Trial, capped, rising

AT = (0, 3, 5, 8, 12, 16, 20, 25, 30, 36, 43, 51, 60, 70, 80)
SUGGESTION = Suggestion(0.1, Outcome.FOUND, "as swept")
ALPHA = {"alpha": 0.99}


def falling(until, to=1.0):
    """From 2 down to `to` at step `until`, and flat from there on."""
    return lambda step: 2 + (to - 2) * min(1.0, step / until)


def rising_again(until, by=0.3):
    """From 2 down to 1 at step `until`, and up by `by` until step 80."""
    return lambda step: falling(until)(step) if step < until else 1 + by * (step - until) / (80 - until)


def on_to(middle, low):
    """From 2 down to `middle` at step 20, and slowly on to `low` at step 70."""
    return lambda step: falling(20, middle)(step) if step < 20 else middle + (low - middle) * min(1, (step - 20) / 50)


GOES_ON = falling(80, 0.2)


def trial(held_out, training=GOES_ON, *, steps=80, ran_away=False):
    measured = tuple((after, held_out(after)) for after in AT if after <= steps) if held_out else ()
    return Trial(0.1, tuple(training(step) for step in range(steps)), measured, ran_away)


def shifted(loss, by):
    return lambda step: loss(step) + by


TABLE = {
    "it falls, and rises again": (trial(rising_again(20)), 20),
    "it falls, and stays": (trial(falling(30)), 30),  # within 3 % of the fall at 29.1 of 30 steps
    "of a few steps": (trial(rising_again(3)), 3),
    "until just before it is late": (trial(rising_again(43, 0.1)), 43),
    "it falls until late": (trial(falling(60)), None),
    "it falls all the time": (trial(falling(80)), None),
    "the little that is left of it falls until late": (trial(on_to(0.2, 0.12), falling(30, 0.0)), None),
    "more than a little is left": (trial(shifted(on_to(0.2, 0.12), 1.0), shifted(falling(30, 0.0), 1.0)), 36),
    "the training loss stays with it": (trial(falling(30), falling(30)), None),
    "it stays a little above": (trial(shifted(falling(30), 0.04), falling(30)), None),
    "the training loss stays above it": (trial(falling(30), falling(80, 1.5)), None),
    "it never falls": (trial(lambda step: 2 + step / 80), None),
    "it is constant": (trial(lambda step: 2.0), None),
    "there are no samples": (trial(None), None),
    "it leaves the numbers": (trial(lambda step: math.nan if step == 80 else 1.0), None),
    "it runs away": (trial(lambda step: math.inf if step > 50 else 2 - step / 80), None),
    "it was asked once": (Trial(0.1, (2.0, 1.9), ((0, 2.0),), False), None),
    "in another unit and from another origin": (
        trial(lambda step: 1000 * rising_again(20)(step) - 5000, lambda step: 1000 * falling(80, 0.2)(step) - 5000),
        20,
    ),
}


@pytest.mark.parametrize(("tried", "steps"), TABLE.values(), ids=TABLE)
def test_a_run_overfits_from_where_held_out_samples_fall_no_more_and_the_training_goes_on(tried, steps):
    assert tried.overfits_after() == steps


HARDER = falling(30)  # held-out samples that begin above the training's, and stay as far above


@pytest.mark.parametrize("by", [0.2, 5.0])
def test_samples_that_are_harder_from_the_beginning_are_not_overfitting(by):
    assert trial(shifted(HARDER, by), HARDER).overfits_after() is None


def test_samples_that_are_harder_do_not_hide_overfitting():
    assert trial(shifted(rising_again(20), 0.2), falling(80, 0.2)).overfits_after() == 20


def test_what_noise_may_be_is_not_taken_for_harder_samples():
    """Of losses that jump up and down by 0.4 those at the first looks are all low, by chance."""

    def noisy(step):
        return falling(80, 0.9)(step) + (-0.4 if step % 2 or step in AT[:4] else 0.4)

    assert trial(rising_again(20), noisy).overfits_after() == 20


def run_of(steps, law=None, optimizer="SGD"):
    return Course(law or cosine(total=steps), steps, optimizer, ALPHA)


def lr_of(run, tried=None):
    return capped(SUGGESTION, tried or trial(rising_again(20)), run).lr


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop", "Adagrad"])
@pytest.mark.parametrize(
    "law",
    [None, constant(total=None), times(ramp.linear(length=100), cosine(total=4000))],
    ids=["cosine", "constant", "warm-up"],
)
@pytest.mark.parametrize("steps", [400, 4000])
def test_the_run_is_to_come_as_far_as_the_trial_had_come_when_it_began_to_overfit(optimizer, law, steps):
    run = run_of(steps, law, optimizer)
    far = 0.1 * flow_time(rising, 20, optimizer, ALPHA)
    assert lr_of(run) * run.flow_time == pytest.approx(far)


def test_a_longer_run_gets_a_lower_lr_in_exact_proportion_and_a_short_one_keeps_it():
    def constant_lr(steps):
        return lr_of(run_of(steps, constant(total=steps)))

    assert constant_lr(20_000) == pytest.approx(constant_lr(2_000) / 10) == pytest.approx(0.1 * 18 / 20_000)
    assert [constant_lr(steps) for steps in (1, 5, 18)] == [0.1] * 3  # the trial's rise is worth two steps
    assert constant_lr(19) < 0.1


def test_it_says_why_and_that_it_is_found():
    lowered = capped(SUGGESTION, trial(rising_again(20)), run_of(180, constant(total=180)))
    assert (lowered.lr, lowered.outcome) == (pytest.approx(0.01), Outcome.FOUND)
    assert lowered.why == "at 0.1 it overfits from step 20 on; 180 steps come as far at 0.01"


KEPT = {
    "nothing overfits": (trial(falling(80)), run_of(10_000)),
    "the run's length is not known": (trial(rising_again(20)), None),
    "the run is short": (trial(rising_again(20)), run_of(10)),
    "there are no samples": (trial(None), run_of(10_000)),
}


@pytest.mark.parametrize(("tried", "run"), KEPT.values(), ids=KEPT)
def test_the_suggestion_is_kept_where(tried, run):
    assert capped(SUGGESTION, tried, run) == SUGGESTION


LOST = {
    "it ran away at once": (trial(lambda step: 200.0 if step else 2.0, lambda step: 1e5 if step < 9 else 200.0), True),
    "it learnt nothing": (trial(lambda step: 2.01 if step else 2.0, lambda step: 2.01), True),
    "it left the numbers at the end": (trial(lambda step: math.nan if step > 60 else 1.0), True),
    "it ran away": (trial(rising_again(20), ran_away=True), True),
    "it fell and rose by less": (trial(rising_again(20)), False),
    "it is constant": (trial(lambda step: 2.0), False),
    "there are no samples": (trial(None), False),
}


@pytest.mark.parametrize(("tried", "lost"), LOST.values(), ids=LOST)
def test_a_trial_that_ends_above_where_it_began_is_lost(tried, lost):
    assert tried.is_lost() == lost
    lowered = capped(SUGGESTION, tried, None)
    assert lowered.lr == (pytest.approx(0.1 / 3) if lost else 0.1)


def test_what_overfits_so_far_that_it_ends_above_its_beginning_is_shortened_and_not_lost():
    far = trial(rising_again(20, 3.0))
    assert far.is_lost()
    assert lr_of(run_of(36, constant(total=36)), tried=far) == pytest.approx(0.05)


@pytest.mark.parametrize("run", [None, run_of(10), run_of(10_000)])
def test_where_it_ran_away_it_is_a_third(run):
    away = trial(rising_again(20), steps=40, ran_away=True)
    lowered = capped(SUGGESTION, away, run)
    assert lowered.lr == pytest.approx(0.1 / 3)
    assert lowered.why == "a run at 0.1 ran away after 40 steps, so a third of it"


def test_what_was_not_found_stays_so():
    nothing = Suggestion(None, Outcome.FLAT, "flat")
    assert capped(nothing, trial(rising_again(20), ran_away=True), run_of(100)) == nothing


def test_a_trial_rises_to_its_lr_in_five_steps():
    assert [rising(step) for step in range(7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([2.0, 2.5, 1.0, 6.9], [False] * 4),  # up by 4.9: what noise and small data do
        ([2.0, 2.5, 7.1], [False, False, True]),
        ([-2.0, -1.0, 3.1], [False, False, True]),  # the sign does not matter
        ([2.0, math.inf], [False, True]),
        ([2.0, math.nan], [False, True]),
    ],
)
def test_a_leap_is_ten_falls_of_the_sweep_above_the_first_loss(losses, ends):
    leap = Leap(fall=0.5)
    assert [leap.update(loss) for loss in losses] == ends


def test_a_held_out_loss_has_leapt_at_a_fifth_of_the_fall():
    """It is a mean over many samples, and hardly jumps: above its first is a net that was thrown away from it."""
    held_out = []
    leap = Leap(fall=0.5, held_out=held_out)
    told = []
    for loss in (2.0, 2.09, 0.4, 2.11):
        held_out.append((len(held_out), loss))
        told.append(leap.update(1.0))
    assert told == [False, False, False, True]
