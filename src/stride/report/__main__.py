"""`python -m stride.report PATH...`: the runs at or below each path as one table, best first, and as one page.

The page (sweep.html, sweep.md, sweep.csv, sweep.json) goes into PATH if that is one folder of runs, else into FOLDER.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stride.errors import ConfigError, Exit, Fault
from stride.report.by_hand import is_sweep, report_on
from stride.report.card import shown_path
from stride.report.columns import show
from stride.report.sweep import write
from stride.report.table import ranked


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stride.report", description=__doc__)
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, default=[Path("runs")])
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="where the page goes; made if it is not there")
    given = parser.parse_args(arguments)
    try:
        report_to(Console(), given.paths, given.to)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return Exit.BAD_INPUT
    return Exit.DONE


def report_to(console: Console, paths: Sequence[Path], folder: Path | None) -> None:
    """Print the table; write the page into `folder`, else into the one path, if it is a sweep's.

    Raises ConfigError for a path without runs and for a folder that cannot be written to.
    """
    report = report_on(paths)
    if folder is None and len(paths) == 1 and is_sweep(paths[0], len(report.rows)):
        folder = paths[0]
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, report)
        except OSError as error:
            raise ConfigError(Fault(str(folder), error.strerror or str(error), "", "--to FOLDER")) from error
    show(console, ranked(report.rows), report.keys)
    said = f"report: {shown_path(folder / 'sweep.html')}" if folder else "for the page: --to FOLDER"
    console.print(said, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
