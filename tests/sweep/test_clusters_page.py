"""docs/clusters.md does what it says: its lines are taken. That many workers share a sweep: test_many_workers.py."""

import re
import shlex
from pathlib import Path

import pytest

from stride.pipeline import checked

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", sorted(set(re.findall(r"python train\.py -m ([^\"\n]*)", PAGE))))
def test_each_line_of_the_page_is_taken(words):
    words = shlex.split(words)
    assert set(checked(words, multirun=True).overrides) == set(words)
