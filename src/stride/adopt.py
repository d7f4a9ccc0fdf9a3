"""Make a fresh clone of the template your own project, under your own name.

python -m stride.adopt my_project

Renames the package, the targets in conf/, imports, tests, README, the sweeper plugin and the environment variables;
writes `.template.json` (the commit it came from); removes itself. In a git repository the result is one commit, and
the branch `template` points at it: later versions of the template are added there, and merged from there.
LICENSE stays as it is.
"""

import fnmatch
import importlib.util
import json
import keyword
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

RECORD = ".template.json"
BRANCH = "template"
OF_THE_TEMPLATE_ONLY = ("src/stride/adopt.py", "tests/test_adopt.py")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
COMMAND = "python -m stride.adopt my_project"
# Ruff wraps and sorts lines by their words, and a name of another length moves them.
NEXT = "next: uv sync && uv run ruff format && uv run ruff check --fix   (with pip: pip install -e .)"


class Refused(Exception):
    """Why nothing was done, in one line: where, what; the law; what to type."""

    def __init__(self, where: str, what: str, attempt: str) -> None:
        super().__init__(f"error: {where}: {what}; try: {attempt}")


def renaming(name: str, compounds: Iterable[str] = ()) -> list[tuple[re.Pattern[str], str]]:
    """The rules of the rename, each a pattern and what takes its place.

    `stride` is also an argument of convolutions, so the bare word is never enough: each pattern asks for a place where
    only the package can stand. `stride.adopt`, the template's own command, keeps its name.
    `compounds` are the longer names in the tree that hold the word, such as `stride_sweeper`.
    """
    words = [part.capitalize() for part in name.split("_")]
    rules = {
        r"(?<![\w./])stride(?=\.[A-Za-z_{*])(?!\.adopt\b)": name,  # stride.lr.schedule, stride.run(
        r"(\bimport (?:[\w.]+, )*)stride\b(?!\.)": rf"\g<1>{name}",  # import stride
        r"\bfrom stride(?= import\b)": f"from {name}",  # from stride import build
        r"(?<= -m )stride\b(?!\.)": name,  # python -m stride
        r"(?<=\bsrc/)stride\b(?!/adopt\b)": name,  # src/stride
        r"(?<=\bsweeper[=/])stride\b": name,  # hydra/sweeper=stride, sweeper/stride.yaml
        r"""(?<=["'])stride(?=\.?["'])(?!["']\s*:\s*[\d(\[])""": name,  # "stride", but not {"stride": 2}
        r"^([ -]*[\w /@]+: )stride(?=\s*(?:#|$))": rf"\g<1>{name}",  # project: stride, a value in YAML
        r"\bSTRIDE_(?=[A-Z])": f"{name.upper()}_",  # STRIDE_RUN_DIR
        r"\bStride(?=[A-Z])": "".join(words),  # StrideSweeper
        r"\bStride\b(?! *[=\d])": " ".join(words),  # Stride in prose, but not "Stride 2 halves the picture"
    }
    rules |= {rf"\b{compound}\b": _renamed_path(compound, name) for compound in compounds}
    return [(re.compile(pattern, re.MULTILINE), to) for pattern, to in rules.items()]


def renamed(text: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    """The text after every rule, in order."""
    for pattern, to in rules:
        text = pattern.sub(to, text)
    return text


def adopt(root: Path, name: str) -> str:
    """Rename the template at `root`, commit where there is git, and say what was done. Raises Refused."""
    _check_spelling(name)
    in_git = (root / ".git").exists()
    if in_git:
        _check_git(root)
    again = in_git and _adopted_before(root, name)
    files = _tracked(root) if in_git else list(_not_ignored(root))
    _check_free(root, name, files, again=again)

    came_from = _git(root, "rev-parse", "HEAD") if in_git else None
    new_texts = _new_texts(root, name, files)
    for file, text in new_texts.items():
        (root / file).write_bytes(text.encode())
    for path in OF_THE_TEMPLATE_ONLY:
        (root / path).unlink(missing_ok=True)
    record = {"template": "stride", "commit": came_from, "adopted_as": name}
    (root / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    for path in sorted(_renamed_paths(files), key=len, reverse=True):  # a folder after what is in it
        (root / path).rename((root / path).with_name(_renamed_path(Path(path).name, name)))

    done = f"{name}: {len(new_texts)} files changed"
    if came_from is None:
        first = f'first: git init && git add --all && git commit -m "The template" && git branch {BRANCH}'
        return f"{done}; no git here, so nothing is committed\n{first}\n{NEXT}"
    commit = _commit(root, f"Adopt the template at {came_from[:10]} as {name}", parent=BRANCH if again else "HEAD")
    then = f"next: git merge {BRANCH}   (in the folder of your own branch)" if again else NEXT
    return f"{done}, committed as {commit[:10]}; the branch {BRANCH} points at it\n{then}"


def _new_texts(root: Path, name: str, files: list[str]) -> dict[str, str]:
    """File -> its new text, for the text files that change."""
    stems = {Path(path).name.split(".")[0] for path in _renamed_paths(files)}
    rules = renaming(name, compounds=stems - {"stride"})
    new = {}
    for file in files:
        path = root / file
        if file.startswith("LICENSE") or file in OF_THE_TEMPLATE_ONLY or path.is_symlink():
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        if (after := renamed(text, rules)) != text:
            new[file] = after
    return new


def _renamed_path(part: str, name: str) -> str:
    """One part of a path, or a name made of it: stride, stride.yaml, stride_sweeper, test_stride_sweeper.py."""
    return re.sub(r"(?<![^_])stride(?=$|[._])", name, part)


def _renamed_paths(files: list[str]) -> set[str]:
    """The files and folders whose own name changes."""
    paths = {str(path) for file in files for path in (Path(file), *Path(file).parents)}
    return {path for path in paths if _renamed_path(Path(path).name, "") != Path(path).name}


def _check_spelling(name: str) -> None:
    if NAME.fullmatch(name) and not keyword.iskeyword(name) and name not in YAML_WORDS:
        return
    law = "a package is named in lower case: letters and digits in words joined by _, no keyword of Python or YAML"
    near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")
    attempt = near if NAME.fullmatch(near) and near != name and not keyword.iskeyword(near) else "my_project"
    raise Refused("name", f"{name!r} cannot be a package; {law}", f"python -m stride.adopt {attempt}")


def _check_free(root: Path, name: str, files: list[str], *, again: bool) -> None:
    """Refuse a name that stands for something else; `again`: one under which this repository may be installed."""
    attempt = f"python -m stride.adopt {name}_project"
    old_paths = [Path(path) for path in sorted(_renamed_paths(files), key=len)]
    new_paths = [path.with_name(_renamed_path(path.name, name)) for path in old_paths]
    for path in (Path(name), Path(f"{name}.py"), *new_paths):
        if (root / path).exists():
            raise Refused("name", f"{path} is there already", attempt)
    imported = re.compile(rf"^\s*(?:import {name}\b|from {name}[\w.]* import\b)", re.MULTILINE)
    if any(imported.search((root / file).read_text(encoding="utf-8")) for file in files if file.endswith(".py")):
        raise Refused("name", f"{name} is a module that the template imports, and yours would hide it", attempt)
    if name in sys.stdlib_module_names or (not again and _installed(name, root)):
        raise Refused("name", f"{name} is an installed module, and yours would hide it", attempt)


def _installed(name: str, root: Path) -> bool:
    spec = importlib.util.find_spec(name)
    places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
    # Run as a file, the folder of this one is on the path: its modules are not top-level ones.
    return any(place and not Path(place).is_relative_to(root / "src") for place in places)


def _check_git(root: Path) -> None:
    """Refuse where the commit could not be made, or would hold more than the template and the rename."""
    _git(root, "rev-parse", "--git-dir")  # git itself is there, and trusts this folder
    if not _succeeds(root, "rev-parse", "--verify", "HEAD"):
        raise Refused("git", "nothing is committed yet", 'git add --all && git commit -m "The template"')
    if changed := _git(root, "status", "--porcelain").splitlines():
        what = f"uncommitted changes ({len(changed)}); adopting starts from a clean tree, so that git can undo it"
        raise Refused("git", what, "git stash --include-untracked")
    if not _succeeds(root, "var", "GIT_COMMITTER_IDENT"):
        raise Refused(
            "git", "it does not know who commits", "git config user.name NAME && git config user.email ADDRESS"
        )
    remotes = _git(root, "branch", "--remotes")
    if remotes and not _git(root, "branch", "--remotes", "--contains", "HEAD"):
        # The branch of the template would hold them too, and the first merge would take them back.
        what = "commits of your own lie on top of the template; adopting comes first"
        raise Refused("git", what, "adopt in a fresh clone, then git cherry-pick them")


def _adopted_before(root: Path, name: str) -> bool:
    """Whether the branch of the template is there, under this name. Raises Refused for another name or branch."""
    if not _succeeds(root, "rev-parse", "--verify", f"refs/heads/{BRANCH}"):
        if _git(root, "log", "--all", "-1", "--format=%H", "--", RECORD):
            what = f"this repository has adopted the template before, but its branch {BRANCH} is not here"
            raise Refused("git", what, f"git branch {BRANCH} origin/{BRANCH}")
        return False
    if not _succeeds(root, "cat-file", "-e", f"{BRANCH}:{RECORD}"):
        what = f"there is a branch {BRANCH}, and adopting needs that name"
        raise Refused("git", what, f"git branch -m {BRANCH} old_{BRANCH}")
    before = json.loads(_git(root, "show", f"{BRANCH}:{RECORD}"))["adopted_as"]
    if before != name:
        what = f"this repository has adopted the template as {before}, but got {name}"
        raise Refused("name", what, f"python {root / 'src/stride/adopt.py'} {before}")
    return True


def _commit(root: Path, message: str, *, parent: str) -> str:
    """Commit the whole tree on top of `parent`, on the branch of the template; HEAD goes along."""
    _git(root, "add", "--all")
    commit = _git(root, "commit-tree", _git(root, "write-tree"), "-p", parent, "-m", message)
    _git(root, "branch", "--force", BRANCH, commit)
    _git(root, "update-ref", "HEAD", commit)
    return commit


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Refused("git", "this is a git repository, but git is not installed", "install git") from None
    except subprocess.CalledProcessError as error:
        raise Refused("git", f"{words[0]}: {' '.join(error.stderr.split())}", "git status") from None
    return done.stdout.strip()


def _succeeds(root: Path, *words: str) -> bool:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True).returncode == 0


def _tracked(root: Path) -> list[str]:
    return [file for file in _git(root, "ls-files", "-z").split("\0") if file]


def _not_ignored(root: Path) -> Iterator[str]:
    """The files that git would track, read from .gitignore by its simple patterns: `name/`, `*.end`, `/at_the_root`."""
    lines = [line.strip() for line in (root / ".gitignore").read_text().splitlines()]
    ignored = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    patterns = [line if line.startswith("/") else f"*/{line}" for line in [*ignored, ".git"]]

    def kept(path: Path) -> bool:
        return not any(fnmatch.fnmatchcase(f"/{path.relative_to(root).as_posix()}", pattern) for pattern in patterns)

    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if kept(Path(folder, name))]
        yield from (str(Path(folder, name).relative_to(root)) for name in names if kept(Path(folder, name)))


def main(words: list[str]) -> int:
    """The exit code: 0 done, 2 refused and nothing changed."""
    root = Path(__file__).resolve().parents[2]
    try:
        if len(words) != 1:
            raise Refused("name", "one word must follow, the name of your package", COMMAND)
        if not (root / "conf" / "train.yaml").is_file():
            raise Refused("adopt", f"{root} is not a clone of the template", "python src/stride/adopt.py my_project")
        if __spec__ and not Path.cwd().is_relative_to(root):
            # `python -m` takes the stride that is installed, which may be another clone than the one meant.
            raise Refused("adopt", f"this would rename {root}, and you are not in it", f"cd {root}")
        print(adopt(root, words[0]))
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
