"""Packages that are built for another torch: a fake one that breaks as the real one does, in a process of its own."""

import sys

import pytest

from stride.doctor import compiled
from stride.doctor.row import Mark


@pytest.fixture
def there(tmp_path, monkeypatch):
    """`there(name, code)` is a package whose import runs `code`; torchvision and torchaudio of this machine are not."""
    monkeypatch.setattr(compiled, "PACKAGES", ())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.setattr(compiled, "PACKAGES", (name,))

    return make


def test_torchvision_of_another_torch_is_wrong_and_forbids_lightning(there):
    there("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    (row,) = compiled.rows()
    assert (row.name, row.mark, row.stops) == ("torchvision", Mark.WRONG, True)
    assert row.cause.startswith("RuntimeError: operator torchvision::nms does not exist; ")
    assert row.attempt.endswith("uninstall torchvision")
    assert "torchvision" not in sys.modules


def test_torchaudio_of_another_torch_is_worth_a_look(there):
    there("torchaudio", "raise OSError('undefined symbol')")
    (row,) = compiled.rows()
    assert (row.mark, row.stops) == (Mark.LOOK, False)


def test_an_import_that_crashes_or_hangs_ends_there(there, monkeypatch):
    there("torchvision", "import os; os._exit(7)")
    assert [row.cause.partition(";")[0] for row in compiled.rows()] == ["its import ends the process with 7"]
    there("torchvision", "import time; time.sleep(60)")
    monkeypatch.setattr(compiled, "PATIENCE", 0.5)
    assert [row.mark for row in compiled.rows()] == [Mark.WRONG]


def test_what_can_be_imported_is_ok_and_what_is_not_there_is_no_row(there):
    assert list(compiled.rows()) == []
    there("torchvision", "")
    assert [row.mark for row in compiled.rows()] == [Mark.OK]
