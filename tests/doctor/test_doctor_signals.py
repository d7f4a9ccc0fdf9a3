"""Signals of the doctor: no library keeps them to itself."""

import signal
from contextlib import suppress
from types import SimpleNamespace

import pytest

from stride.doctor import signals
from stride.doctor.quadratic import witness
from stride.doctor.quadratic.trained import train


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_whose_exception_was_swallowed_ends_it_all_the_same(number, code):
    before = signal.getsignal(number)
    with signals.taken():
        signals.look()
        with suppress(BaseException):
            signal.raise_signal(number)
        with pytest.raises(SystemExit, match=str(code)):
            signals.look()
    signals.look()
    assert signal.getsignal(number) is before


def test_a_signal_in_a_run_ends_the_doctor_and_not_only_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(witness, "signal", SimpleNamespace(SIGTERM=signal.SIGINT, raise_signal=signal.raise_signal))
    with pytest.raises(SystemExit, match="130"):
        train(tmp_path, "run", ["optimizer.lr=0.01", "trainer.max_epochs=5"], stop_at=2)
