"""Is all well here? Versions, devices, threads, disk, and the whole pipeline on a loss whose limit is known.

python -m stride.doctor
python -m stride.doctor output_root=/data/runs

It takes less than a minute, uses no network and leaves no file. Each check is ok, worth a look, or wrong; below the
tables stand, for all that is not ok, the cause and a command that mends it. The last table trains a linear regression
of chosen curvature as train.py would: its limit is measured and tried on both sides, the LR is found, warmed up,
scheduled, traced, and driven far beyond the limit, a run is stopped and gone on with. Each is held against a formula.

The exit code is 0 if nothing is wrong, 1 if something is, 2 for a line that cannot be read. DEBUG=1 adds tracebacks.
"""

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stride.doctor.installer import project
from stride.doctor.row import Mark, Row
from stride.doctor.signals import taken
from stride.errors import ConfigError, Exit, Fault, nearest
from stride.names import CONF, ROOT

COMMAND = f"python -m {__package__}"
WORD = "output_root"


def main(words: Sequence[str]) -> int:
    """Check, and show; returns the exit code. Raises SystemExit where a signal ends it."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return Exit.DONE
    try:
        output_root = _output_root(words)
        with taken():
            return _shown(output_root)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return Exit.BAD_INPUT
    except ModuleNotFoundError as error:  # rich, and packaging, which reads what else is missing
        print(Fault(str(error.name), "it is not installed", "", project()), file=sys.stderr)
        return Exit.CRASH


def _output_root(words: Sequence[str]) -> Path:
    """The folder that is typed, else that of conf/, below the project's. Raises ConfigError for any other word."""
    page = CONF / "train.yaml"
    usual = re.search(rf"^{WORD}: *(\S+)", page.read_text(encoding="utf-8") if page.is_file() else "", re.MULTILINE)
    folder, faults = usual[1] if usual else "runs", list[Fault]()
    for word in words:
        key, _, value = word.partition("=")
        if key == WORD and value:
            folder = value
        else:
            faults.append(_refused(key, value))
    if faults:
        raise ConfigError(*faults)
    return (ROOT / folder).resolve()


def _refused(key: str, value: str) -> Fault:
    if key == WORD:
        return Fault(WORD, "names no folder", "", f"{COMMAND} {WORD}=runs")
    known = {WORD: f"{COMMAND} {WORD}={value or 'runs'}", "--help": f"{COMMAND} --help"}
    meant = nearest(key, known)
    law = f"did you mean `{meant}`?" if meant else f"`{WORD}=FOLDER` is all it takes"
    return Fault(key, "no such word", law, known.get(meant or "", COMMAND))


def _shown(output_root: Path) -> int:
    from stride.doctor.examination import examined
    from stride.doctor.scratch import scratch
    from stride.doctor.screen import conclude, screen, show

    began, rows = time.monotonic(), list[Row]()
    with screen() as console, scratch() as folder:
        for title, found in examined(console, output_root, folder):
            show(console, title, found)
            rows += found
        conclude(console, rows, time.monotonic() - began)
    return Exit.CRASH if any(row.mark in (Mark.WRONG, Mark.UNCHECKED) for row in rows) else Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
