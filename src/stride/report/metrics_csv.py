"""metrics.csv: a row for each step that logged something, a column for each metric."""

import csv
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from stride.whole_file import replaced, rows_of


class MetricsCSV(Logger):
    """Appends to metrics.csv, and never deletes it as Lightning's CSVLogger does when a folder is used again.

    What is logged for one step in several calls becomes one row. A metric that is first seen late widens the
    table: the file is written anew, once for each new column. A file that cannot be written is told once; training
    goes on, and what is missing is written as soon as it can be.

    Args:
        save_dir: the folder of metrics.csv.
        purge_step: the step that a resumed run goes on with; rows from a lost part of the run are taken out.
    """

    def __init__(self, save_dir: str, purge_step: int | None = None) -> None:
        super().__init__()
        self._path = Path(save_dir) / "metrics.csv"
        self._columns = ["step"]
        self._rows: list[dict[str, Any]] = []  # the newest, and those before it that could not be written
        self._in_file: dict[str, Any] = {}  # what is in the file of the first of them
        self._failed = self._told = False
        if purge_step is not None:
            self._cut_back(purge_step)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Hyper-parameters stand in config.yaml; the table holds only what was measured."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._rows or self._rows[-1]["step"] != step:
            self.save()
            if self._rows == [self._in_file]:
                self._rows, self._in_file = [], {}
            self._rows.append({})
        self._rows[-1] |= {"step": step if step is not None else 0, **metrics}

    @rank_zero_only
    def save(self) -> None:
        if self._rows in ([], [self._in_file]):
            return
        new = dict.fromkeys(name for row in self._rows for name in row if name not in self._columns)
        self._columns += new
        try:
            if new or self._in_file or self._failed or not self._path.exists():
                kept = _read(self._path)
                self._write([*(kept[:-1] if self._in_file else kept), *self._rows])
            else:
                with self._path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, self._columns).writerows(self._rows)
        except OSError as error:
            self._tell(error)
        else:
            self._rows, self._in_file, self._failed = self._rows[-1:], dict(self._rows[-1]), False

    def _tell(self, error: OSError) -> None:
        if not self._told:
            logging.getLogger("stride").warning("%s cannot be written: %s; the run goes on", self._path, error.strerror)
        self._failed = self._told = True

    @rank_zero_only
    def _cut_back(self, step: int) -> None:
        rows = [row for row in _read(self._path) if int(row["step"]) < step]
        if not rows and self._path.is_file():
            self._path.unlink()
        elif rows:
            self._columns = list(rows[0])
            self._write(rows)
            if int(rows[-1]["step"]) == step - 1:  # a validation may still be due with it
                self._rows = [{name: value for name, value in rows[-1].items() if value} | {"step": step - 1}]
                self._in_file = dict(self._rows[0])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with replaced(self._path) as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def _read(path: Path) -> list[dict[str, str]]:
    columns, *rows = rows_of(path) or [[]]
    return [dict(zip(columns, row, strict=True)) for row in rows]
