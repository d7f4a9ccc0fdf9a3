"""python -m stride.adopt: every name of the template becomes the user's, nothing else moves, and merges still work."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from stride.adopt import renamed, renaming

ROOT = Path(__file__).resolve().parents[1]
GONE = {"src/stride/adopt.py", "tests/test_adopt.py"}
# Not the user's own git settings, and no repository around the one of the test.
ENV = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_EDITOR": "true",
    **{f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "runs", "uv.lock", "__pycache__", ".*_cache", ".hypothesis")


def copy(to):
    shutil.copytree(ROOT, to, ignore=NOT_COPIED)
    return to


def repository(folder):
    git(folder, "init", "--quiet", "--initial-branch=main")
    return committed(folder, "The template")


def committed(folder, message):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", message)
    return folder


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, env=ENV, check=True, capture_output=True, text=True).stdout


def adopt(folder, *words, env=ENV):
    command = [sys.executable, "src/stride/adopt.py", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def texts(folder):
    """Path -> bytes of every file of a copy, without what git and Python write."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {p.as_posix(): (folder / p).read_bytes() for p in paths if not {".git", "__pycache__"} & {*p.parts}}


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    """A copy without git, adopted as zebra_lab, a name that nothing in the template holds."""
    folder = copy(tmp_path_factory.mktemp("adopted") / "template")
    done = adopt(folder, "zebra_lab")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "line, expected",
    [
        ("from stride.lr import ramp", "from my_project.lr import ramp"),
        ("from stride import build", "from my_project import build"),
        ("import stride", "import my_project"),
        ("import sys, stride; stride.run([])", "import sys, my_project; my_project.run([])"),
        ("import sys, stride.lr.ramp", "import sys, my_project.lr.ramp"),
        ("_target_: stride.models.cnn.CNN", "_target_: my_project.models.cnn.CNN"),
        ('getLogger("stride")', 'getLogger("my_project")'),
        ('name.startswith("stride.")', 'name.startswith("my_project.")'),
        ('f"stride.{room}"', 'f"my_project.{room}"'),
        ('{"stride": "0.1.0"}', '{"my_project": "0.1.0"}'),
        ('name = "stride"', 'name = "my_project"'),
        ('packages = ["src/stride"]', 'packages = ["src/my_project"]'),
        ("python -m stride.report runs/", "python -m my_project.report runs/"),
        ("  project: stride  # in W&B", "  project: my_project  # in W&B"),
        ("  - override sweeper: stride", "  - override sweeper: my_project"),
        ("hydra/sweeper=stride", "hydra/sweeper=my_project"),
        ("hydra_plugins.stride_sweeper.StrideSweeper", "hydra_plugins.my_project_sweeper.MyProjectSweeper"),
        ("STRIDE_RUN_DIR", "MY_PROJECT_RUN_DIR"),
        ("${oc.env:STRIDE_ALLOW_TARGETS}", "${oc.env:MY_PROJECT_ALLOW_TARGETS}"),
        ("# Stride", "# My Project"),
        ("Stride's sweeper.", "My Project's sweeper."),
    ],
)
def test_the_name_of_the_package_changes_in_every_form(line, expected):
    assert renamed(line, renaming("my_project", compounds=["stride_sweeper"])) == expected


@pytest.mark.parametrize(
    "line",
    [
        "nn.Conv2d(3, 8, 3, stride=2)",
        "nn.Conv2d(before, after, size, stride, padding=1)",
        "def __init__(self, before: int, *, stride: int = 1) -> None:",
        "Block(4, 4, stride=stride)",
        "same = stride == 1 and before == after",
        "convolution.stride[0], x.stride(0), self.stride.x",
        "(batch, after, height / stride, width / stride)",
        "half the size for a longer stride.",
        "Stride 2 halves the picture; stride 1 keeps it.",
        "stride: 2  # pixels",
        '{"stride": 2, "padding": 1}',
        "model.stride=2",
        "np.lib.stride_tricks.sliding_window_view(x.as_strided(4), 8)",
        "strides, astride, Strided, STRIDES, bestride.x",
        "https://github.com/someone/stride.git",
        "python -m stride.adopt my_project",
        "python ../next/src/stride/adopt.py my_project",
    ],
)
def test_other_uses_of_the_word_stay(line):
    assert renamed(line, renaming("my_project", compounds=["stride_sweeper"])) == line


def test_undoing_the_words_gives_the_template_back_byte_for_byte(adopted, tmp_path):
    words = {"zebra_lab": "stride", "ZEBRA_LAB": "STRIDE", "ZebraLab": "Stride", "Zebra Lab": "Stride"}
    found = {}
    for file, content in texts(adopted).items():
        if file == ".template.json":
            continue
        for new, old in words.items():
            file, content = file.replace(new, old), content.replace(new.encode(), old.encode())
        found[file] = content
    before = {file: content for file, content in texts(copy(tmp_path / "template")).items() if file not in GONE}
    assert sorted(found) == sorted(before)
    assert [file for file in before if found[file] != before[file]] == []


def test_the_license_keeps_its_bytes(adopted):
    assert (adopted / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_old_name_is_left_only_where_a_file_uses_the_word_for_itself(adopted):
    left = {}
    for file, content in texts(adopted).items():
        if file in ("LICENSE", ".template.json"):
            continue
        text = content.decode(errors="ignore")
        # The template's own command, its address, and a number of pixels in YAML.
        known = r"stride([./])adopt\b|(?<!src)/stride(\.git)?\b|^\s*stride: \d"
        words = set(re.findall(r"\bstride\b|\bStride|\bSTRIDE_", re.sub(known, "", text, flags=re.MULTILINE)))
        words |= set(re.findall(r"(?<![^_/])stride(?=$|[._/])", file))
        if file.endswith(".py") and "stride" in bound(text):
            words.discard("stride")
        left |= {file: words} if words else {}
    assert left == {}


def bound(source):
    """The names that Python code gives a meaning itself, but not by import: arguments, variables, functions."""
    nodes = list(ast.walk(ast.parse(source)))
    variables = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    arguments = {node.arg for node in nodes if isinstance(node, ast.arg | ast.keyword) and node.arg}
    return variables | arguments | {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_target_is_in_the_new_package(adopted):
    ours = [
        target for path in (adopted / "conf").rglob("*.yaml") for target in targets(yaml.safe_load(path.read_text()))
    ]
    others = "torch|pytorch_lightning|sklearn|optuna|functools|schedulefree|prodigyopt"
    ours = [target for target in ours if not re.match(others, target)]
    assert len(ours) > 20
    for target in ours:
        module, _, name = target.rpartition(".")
        file = (adopted / "src").joinpath(*module.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        body = ast.parse(file.read_text()).body
        names = {node.name for node in body if hasattr(node, "name")}
        names |= {alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert name in names, target


def targets(node):
    if isinstance(node, dict):
        yield from [node["_target_"]] if "_target_" in node else []
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from targets(item)


def test_every_file_compiles(adopted):
    for file, content in texts(adopted).items():
        if file.endswith(".py"):
            compile(content, file, "exec", dont_inherit=True)


def test_the_door_answers_under_the_new_name(adopted):
    env = {**ENV, "PYTHONPATH": str(adopted / "src")}
    command = [sys.executable, "train.py", "optimizer=adm"]
    done = subprocess.run(command, cwd=adopted, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: optimizer: ")


def test_ruff_has_no_more_to_say_after_the_line_that_adopting_prints(tmp_path):
    def findings():
        command = ["check", "--fix", "--output-format=json"]
        return Counter(finding["code"] for finding in json.loads(ruff(*command).stdout))

    def ruff(*words):
        return subprocess.run([sys.executable, "-m", "ruff", *words], cwd=folder, capture_output=True, text=True)

    folder = copy(tmp_path / "template")
    before = findings()
    assert "uv run ruff format && uv run ruff check --fix" in adopt(folder, "my_project").stdout
    ruff("format")
    assert findings() <= before


@pytest.mark.parametrize(
    "words, fault",
    [
        ([], "error: name: one word must follow"),
        (["a", "b"], "error: name: one word must follow"),
        (["My-Project"], "try: python -m stride.adopt my_project"),
        (["2fast"], "try: python -m stride.adopt fast"),
        (["a.b"], "cannot be a package"),
        (["lambda"], "no keyword of Python or YAML; try: python -m stride.adopt my_project"),
        (["on"], "no keyword of Python or YAML"),
        (["stride"], "error: name: src/stride is there already"),
        (["hydra_plugins"], "; try: python -m stride.adopt hydra_plugins_project"),
        (["train"], "error: name: train.py is there already; try: python -m stride.adopt train_project"),
        (["tests"], "error: name: tests is there already"),
        (["torch"], "torch is a module that the template imports"),
        (["hydra"], "hydra is a module that the template imports"),
        (["wave"], "wave is an installed module"),
        (["markdown_it"], "markdown_it is an installed module"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_name_that_cannot_be_is_refused_in_one_line(untouched, words, fault):
    done = adopt(untouched, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .*; try: .*\n", done.stderr)
    assert fault in done.stderr


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A repository that every test must leave as it found it."""
    folder = repository(copy(tmp_path_factory.mktemp("untouched") / "template"))
    yield folder
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "rev-list", "--all", "--count").strip() == "1"


def test_what_git_does_not_hold_is_not_put_at_risk(tmp_path):
    folder = copy(tmp_path / "template")
    git(folder, "init", "--quiet")
    assert "error: git: nothing is committed yet" in adopt(folder, "my_project").stderr
    assert "git is not installed" in adopt(folder, "my_project", env={**ENV, "PATH": str(tmp_path)}).stderr
    repository(folder)
    (folder / "notes.txt").write_text("mine")
    before = texts(folder)
    done = adopt(folder, "my_project")
    assert (done.returncode, texts(folder)) == (2, before)
    assert done.stderr.startswith("error: git: uncommitted changes (1); ")


def test_the_module_that_is_installed_does_not_rename_another_folder(tmp_path):
    folder = copy(tmp_path / "template")
    command = [sys.executable, "-m", "stride.adopt", "my_project"]
    env = {**ENV, "PYTHONPATH": str(folder / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"try: cd {folder}" in done.stderr
    assert subprocess.run(command, cwd=folder, env=env, capture_output=True).returncode == 0


def test_without_git_what_gitignore_names_is_left_alone(tmp_path):
    folder = copy(tmp_path / "template")
    for path in (".venv/lib/x.py", "runs/a/config.yaml", "src/x.egg-info/name", "uv.lock"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("stride.x")
    (folder / "src/stride/runs.py").write_text("import stride")
    assert adopt(folder, "my_project").returncode == 0
    for path in (".venv/lib/x.py", "runs/a/config.yaml", "src/x.egg-info/name", "uv.lock"):
        assert (folder / path).read_text() == "stride.x"
    assert (folder / "src/my_project/runs.py").read_text() == "import my_project"
    assert json.loads((folder / ".template.json").read_text())["commit"] is None


def test_later_commits_of_the_template_merge_by_the_recipe_of_the_readme(tmp_path):
    template = repository(copy(tmp_path / "template"))
    git(tmp_path, "clone", "--quiet", str(template), "project")
    project = tmp_path / "project"
    assert adopt(project, "my_project").returncode == 0
    record = json.loads((project / ".template.json").read_text())
    assert record == {"template": "stride", "commit": head(template), "adopted_as": "my_project"}
    assert git(project, "status", "--porcelain") == ""

    # What the user does, and what the template does, at the same time and in the same file.
    edit(project / "src/my_project/cli.py", '\n\nif __name__ == "__main__":\n    main([])\n')
    (project / "conf/model/mine.yaml").write_text("_target_: my_project.models.mine.Mine\n")
    (project / "README.md").write_text("# Mine\n")
    committed(project, "Mine")
    recipe = re.search(r"```bash\n(git remote add .*?)```", (ROOT / "docs" / "adopt.md").read_text(), re.DOTALL)[1]
    recipe = recipe.replace("URL_OF_THE_TEMPLATE", str(template)).replace("python ", f"{sys.executable} ")
    once, every_time = recipe.split("\n", 1)
    env = {**ENV, "PYTHONPATH": str(project / "src")}  # the project is installed, under the name that is asked for
    subprocess.run(once, shell=True, cwd=project, env=env, check=True)
    for version in ("1", "2"):
        insert_import(template / "src/stride/cli.py", f"from stride.new{version} import NEW  # version {version}")
        (template / f"src/stride/new{version}.py").write_text(f"from stride.errors import Fault\n\nNEW = {version}\n")
        (template / f"conf/model/new{version}.yaml").write_text(f"_target_: stride.new{version}.New\n")
        committed(template, f"Version {version}")
        done = subprocess.run(["bash", "-e", "-c", every_time], cwd=project, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

        assert git(project, "status", "--porcelain") == ""
        assert (project / f"src/my_project/new{version}.py").read_text().startswith("from my_project.errors import")
        assert f"_target_: my_project.new{version}.New" in (project / f"conf/model/new{version}.yaml").read_text()
        assert json.loads((project / ".template.json").read_text())["commit"] == head(template)
    cli = (project / "src/my_project/cli.py").read_text()
    assert "from my_project.new1 import NEW  # version 1" in cli and "from my_project.new2 import NEW" in cli
    assert cli.endswith("    main([])\n")
    assert (project / "README.md").read_text() == "# Mine\n"
    assert (project / "conf/model/mine.yaml").exists()
    assert not (project / "src/stride").exists()


def head(folder):
    return git(folder, "rev-parse", "HEAD").strip()


def edit(path, more):
    path.write_text(path.read_text() + more)


def insert_import(path, line):
    """Beside lines that the rename changed, where a merge of unlike trees would conflict."""
    before, found, after = path.read_text().partition("from stride")
    path.write_text(f"{before}{line}\n{found}{after}")


def test_adopting_comes_before_commits_of_ones_own_and_keeps_its_name(tmp_path):
    template = repository(copy(tmp_path / "template"))
    git(tmp_path, "clone", "--quiet", str(template), "project")
    project = tmp_path / "project"
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Mine")
    assert "error: git: commits of your own lie on top" in adopt(project, "my_project").stderr
    git(project, "reset", "--quiet", "--hard", "origin/main")

    git(project, "branch", "template")
    assert "try: git branch -m template old_template" in adopt(project, "my_project").stderr
    git(project, "branch", "-d", "template")

    assert adopt(project, "my_project").returncode == 0
    git(project, "worktree", "add", "--quiet", "--detach", "../next", "origin/main")
    other = adopt(tmp_path / "next", "other")
    assert other.stderr.startswith("error: name: this repository has adopted the template as my_project, but got other")
    git(project, "branch", "-D", "template")
    assert "try: git branch template origin/template" in adopt(tmp_path / "next", "my_project").stderr


def test_the_line_of_the_readme_takes_it_back(tmp_path):
    folder = repository(copy(tmp_path / "template"))
    before = texts(folder)
    assert adopt(folder, "my_project").returncode == 0
    (folder / "src/my_project/__pycache__").mkdir(exist_ok=True)
    (folder / "src/my_project/__pycache__/module.pyc").write_bytes(b"")
    line = re.search(r"`(git reset --hard HEAD~1[^`]*)`", (ROOT / "README.md").read_text())[1]
    subprocess.run(["bash", "-e", "-c", line], cwd=folder, env=ENV, check=True, capture_output=True)
    assert texts(folder) == before
    assert adopt(folder, "my_project").returncode == 0


def test_an_adopted_project_cannot_be_adopted_again(adopted):
    before = texts(adopted)
    env = {**ENV, "PYTHONPATH": str(adopted / "src")}
    again = [sys.executable, "-m", "zebra_lab.adopt", "other"]
    done = subprocess.run(again, cwd=adopted, env=env, capture_output=True, text=True)
    assert done.returncode != 0 and "No module named zebra_lab.adopt" in done.stderr
    assert texts(adopted) == before


@pytest.mark.slow
def test_the_adopted_copy_passes_its_own_tests(tmp_path):
    folder = copy(tmp_path / "template")
    assert adopt(folder, "my_project").returncode == 0
    # What `uv sync` would write: the name and version under which the package is installed.
    installed = tmp_path / "installed" / "my_project-0.1.0.dist-info" / "METADATA"
    installed.parent.mkdir(parents=True)
    installed.write_text("Metadata-Version: 2.1\nName: my_project\nVersion: 0.1.0\n")
    # The template is installed beside it here, and would answer to a name that was forgotten.
    (tmp_path / "installed" / "stride.py").write_text("raise ImportError('the name of the template')\n")
    env = {**ENV, "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(tmp_path / "installed")])}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
