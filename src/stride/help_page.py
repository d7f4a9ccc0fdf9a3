"""`python train.py --help`: groups, front-page keys and examples, read from conf/ and nothing imported."""

import re
import textwrap
from pathlib import Path

EXAMPLES = """\
python train.py                                       the default: digits, a small CNN, Adam, cosine
python train.py optimizer=sgd scheduler=wsd           any optimizer with any schedule
python train.py optimizer.lr=3e-3 warmup.length=10%   any value; durations carry their unit
python train.py lr_finder=on                          find the learning rate, then train with it
python train.py task=test run=runs/NAME               a run again, from its own config and best weights
python train.py -m optimizer.lr=1e-3,1e-2             a sweep
python train.py --cfg job                             the whole config, composed"""


def text(conf: Path, groups: dict[str, list[str]]) -> str:
    """The help page for the groups, with their choices, and the front-page keys of `conf`."""
    front = (conf / "train.yaml").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^  - (\w+): (\w+)", front, flags=re.MULTILINE))
    keys = re.findall(r"^(\w+): *([^#\n]*?) *(?:# *(.*))?$", front, flags=re.MULTILINE)
    lines = [
        "Stride trains, and gets the learning rate right.",
        "",
        *EXAMPLES.splitlines(),
        "",
        "Groups (group=choice; * is the default)",
    ]
    for group in defaults:
        choices = " ".join(f"{name}*" if name == defaults[group] else name for name in groups.get(group, ()))
        lines += textwrap.wrap(choices, 92, initial_indent=f"  {group:<14}", subsequent_indent=" " * 16)
    lines += ["", "Keys of the front page (key=value; every other key: --cfg job)"]
    lines += [f"  {f'{key}={value}':<22}{comment}" for key, value, comment in keys if key != "defaults"]
    lines += [
        "",
        'Tab completion: eval "$(python train.py -sc install=bash)"   (zsh: the same; fish: install=fish)',
    ]
    return "\n".join(lines)
