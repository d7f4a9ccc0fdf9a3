"""`python -m stride.report PATH...`: the runs at or below each path as one table, best first."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stride.errors import ConfigError, Exit, Fault
from stride.report.table import Row, differing, ranked, read_row, run_folders, show


def main(arguments: Sequence[str]) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stride.report", description=__doc__)
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, default=[Path("runs")])
    paths = parser.parse_args(arguments).paths
    try:
        rows = [row for path in paths for row in rows_below(path, whole_names=len(paths) > 1)]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return Exit.BAD_INPUT
    rows = ranked(rows)
    show(Console(), rows, differing(rows))
    return Exit.DONE


def rows_below(path: Path, *, whole_names: bool) -> list[Row]:
    """The rows of every run at or below `path`. Raises ConfigError where there is none.

    `whole_names` keeps runs of the same name below several paths apart.
    """
    if not path.is_dir():
        raise ConfigError(Fault(str(path), "there is no such folder", f"looked in {Path.cwd()}"))

    def name(folder: Path) -> str:
        return str(folder if whole_names or folder == path else folder.relative_to(path))

    rows = [read_row(folder, name(folder)) for folder in run_folders(path)]
    if not rows:
        raise ConfigError(Fault(str(path), "holds no run", "a run is a folder with a run.json"))
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
