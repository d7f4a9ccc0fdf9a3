"""The order of the checks: what forbids an import comes before it, and a check that breaks ends no other."""

import sys
from io import StringIO

import pytest
from rich.console import Console

from stride.doctor import compiled, devices, examination, known_bad, threads
from stride.doctor.row import Mark, Row

STOPS = Row("lightning", "2.6.2", Mark.WRONG, "malware", "remove it", stops=True)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """`parts()` is the rows of each part by its title; nothing is trained."""
    monkeypatch.setattr(examination, "_trained", lambda ask, folder: [Row("limit", "0.1")])

    def ask():
        console = Console(file=StringIO())
        return {title: list(rows) for title, rows in examination.examined(console, tmp_path, tmp_path)}

    return ask


def test_nothing_is_imported_or_trained_beside_malware(parts, monkeypatch):
    monkeypatch.setattr(known_bad, "rows", lambda: iter([STOPS]))
    for module in (compiled, devices, threads):
        monkeypatch.setattr(module, "rows", lambda: pytest.fail("it imports torch"))
    monkeypatch.setattr(examination, "_imports", lambda: pytest.fail("it imports torch"))
    found = parts()
    unchecked = [row.name for rows in found.values() for row in rows if row.mark is Mark.UNCHECKED]
    assert unchecked == ["devices, threads", "limit to resume"]
    assert [row.found for row in found[examination.QUADRATIC]] == ["mend lightning first"]
    assert {"output root", "saving", "temporary"} <= {row.name for row in found["machine"]}


def test_a_check_that_breaks_is_wrong_and_the_next_goes_on(parts, monkeypatch):
    def broken():
        yield Row("devices", "the CPU")
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(devices, "rows", broken)
    rows = parts()["machine"]
    assert [(row.name, row.mark) for row in rows][:3] == [
        ("devices", Mark.OK),
        ("devices", Mark.WRONG),
        ("threads", rows[2].mark),
    ]
    assert rows[1].cause == "two lines"
    assert rows[1].attempt == "DEBUG=1 python -m stride.doctor"


def test_the_traceback_of_a_check_that_breaks_is_shown_where_it_is_asked_for(monkeypatch):
    def broken():
        raise ZeroDivisionError("[0]")

    for debug, told in (("0", ""), ("1", "ZeroDivisionError: [0]")):
        monkeypatch.setenv("DEBUG", debug)
        console = Console(file=StringIO())
        examination._asked(console, "devices", broken)
        assert console.file.getvalue().strip().splitlines()[-1:] == [told][: bool(told)]


def test_an_import_that_fails_is_told_and_forbids_what_needs_it(parts, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    found = parts()
    assert found["environment"][-1].name == "imports"
    assert "pytorch_lightning" in found["environment"][-1].cause
    assert [row.mark for row in found[examination.QUADRATIC]] == [Mark.UNCHECKED]
