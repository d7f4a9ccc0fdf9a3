"""docs/clusters.md does what it says: its lines are taken.

That many workers share a sweep: test_many_workers.py; that a requeued run goes on: test_requeue.py.
"""

import re
import shlex
from pathlib import Path

import pytest

from stride.pipeline import checked

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", sorted(set(re.findall(r"python train\.py ([^\"`\n]*)", PAGE))))
def test_each_line_of_the_page_is_taken(line):
    words = shlex.split(line)
    multirun = "-m" in words
    overrides = [word for word in words if word != "-m"]
    assert set(checked(overrides, multirun=multirun).overrides) == set(overrides)
