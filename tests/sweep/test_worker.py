"""A driver's name tells on its own machine whether it lives, and elsewhere says nothing."""

import os
import subprocess
import sys
import time

from stride.sweep import worker


def test_the_name_of_a_process_says_on_its_machine_whether_it_lives():
    script = "from stride.sweep import worker; print(worker.me(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        name = process.stdout.readline().strip()
        assert worker.is_gone(name) is False
        process.kill()  # a zombie, until its parent asks
        process.stdin.close()
        until = time.monotonic() + 10
        while worker.is_gone(name) is False and time.monotonic() < until:
            time.sleep(0.01)
        assert worker.is_gone(name) is True
        process.wait()
    assert worker.is_gone(name) is True
    assert worker.is_gone(worker.me()) is False


def test_a_number_that_was_given_to_another_process_is_not_the_same_worker():
    machine, pid, started = worker.me().rsplit("/", 2)
    assert pid == str(os.getpid())
    assert worker.is_gone(f"{machine}/{pid}/{int(started) - 1}") is True


def test_of_another_machine_nothing_is_known():
    _, pid, started = worker.me().rsplit("/", 2)
    assert worker.is_gone(f"elsewhere/{pid}/{started}") is None
    assert worker.is_gone(f"elsewhere/999999999/{started}") is None
