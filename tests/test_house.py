"""The rooms of the house, who may import whom, and what people type: changed only on purpose."""

import ast
import re
from pathlib import Path

import pytest

from stride import check
from stride.names import groups

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "stride"

# Room (folder or file) -> the rooms of ours that it may import; each may import itself.
MAY_IMPORT = {
    "lr": set(),
    "errors": set(),
    "signature": set(),
    "keys": set(),
    "secret": set(),
    "models": set(),
    "datamodules": set(),
    "optimizers": set(),
    "patterns": {"lr", "errors"},
    "param_groups": {"lr", "patterns"},
    "objective": set(),
    "adopt": set(),
    "help_page": set(),
    "logs": set(),
    "around_step": set(),
    "rate_inside": {"around_step"},
    "own_rate": {"errors", "keys", "lr"},
    "law_lr": set(),
    "torch_law": {"lr", "errors"},
    "horizon": {"lr", "errors"},
    "run_folder": {"errors", "whole_file"},
    "whole_file": set(),
    "checkpoint_file": {"errors", "whole_file"},
    "checkpoint_io": {"checkpoint_file", "errors", "secret"},
    "stop": {"errors"},
    "callbacks": {"lr", "errors", "horizon", "around_step", "keys", "rate_inside", "secret", "stop", "whole_file"},
    "module": {"lr", "errors", "horizon", "objective", "around_step", "law_lr"},
    "engine": {"errors"},
    "short_runs": {"callbacks", "lr"},
    "tune": {"around_step", "callbacks", "engine", "errors", "lr", "module", "short_runs"},
    "report": {"lr", "errors", "secret", "whole_file"},
    "names": {"errors"},
    "words": {"errors", "names"},
    "kept_config": {"errors", "keys", "names"},
    "line": {"errors", "kept_config", "keys", "names", "secret", "words"},
    "check": {
        *("datamodules", "engine", "lr", "errors", "keys", "own_rate", "patterns", "secret"),
        *("run_folder", "signature", "torch_law"),
    },
    "build": {
        "around_step",
        "checkpoint_io",
        "datamodules",
        "errors",
        "callbacks",
        "module",
        "lr",
        "resume",
        "torch_law",
        "tune",
    },
    "folds": {"errors", "kept_config", "keys", "line", "report", "resume", "run_folder", "trial_link"},
    "rebuild": {"build", "check", "checkpoint_file", "errors", "kept_config", "names", "report", "resume"},
    "init_from": {"checkpoint_file", "errors", "kept_config", "rebuild"},
    "coordinate_check": {"build", "errors", "logs", "lr", "names", "pipeline"},
    "doctor": {"datamodules", "errors", "lr", "names", "pipeline", "report", "whole_file"},
    "sweep": {"build", "lr", "report", "stop", "errors", "keys", "run_folder", "secret", "trial_link"},
    "warm": {"callbacks", "cli", "module", "pipeline", "report"},
    "resume": {"checkpoint_file", "errors", "keys", "lr", "report", "secret"},
    "preview": {"build", "callbacks", "errors", "logs", "lr"},
    "stability_check": {"around_step", "build", "callbacks", "errors", "lr", "module"},
    "pipeline": {
        "build",
        "check",
        "errors",
        "folds",
        "init_from",
        "line",
        "names",
        "logs",
        "lr",
        "preview",
        "rebuild",
        "report",
        "resume",
        "run_folder",
        "stability_check",
        "stop",
        "trial_link",
        "whole_file",
    },
    "trial_link": set(),
    "cli": {"errors", "help_page", "line", "names", "pipeline", "run_folder", "secret"},
    "__init__": {"cli", "pipeline", "rebuild", "sweep"},
}
FOR_TYPES_ONLY = {("report", "callbacks"), ("build", "sweep"), ("build", "stop"), ("report", "stability_check")}
WITHOUT_TORCH = (
    "keys",
    "secret",
    "lr",
    "torch_law",
    "own_rate",
    "patterns",
    "engine",
    "errors",
    "signature",
    "names",
    "words",
    "kept_config",
    "line",
    "check",
    "help_page",
    "run_folder",
    "whole_file",
    "checkpoint_file",
    "stop",
    "folds",
    "cli",
    "pipeline",
    "preview",
    "resume",
    "build",
    "sweep",
    "doctor",
)

# Of those rooms: what asks a network for its loss and curvature, or trains one. No file that runs before torch may
# import it.
WITH_TORCH = {f"lr/{name}.py" for name in ("sharpness", "preconditioner", "critical", "fixed_loss", "settle", "bounds")}
WITH_TORCH |= {
    f"doctor/quadratic/{name}.py"
    for name in ("loss", "witness", "trained", "limit", "finder", "applied", "guard", "resumed", "accelerator")
}


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path, *, top_level_only=False):
    """(module, is for types only) of every import in a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in ast.walk(node):
                inner.for_types = True
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        names = []
        if isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:  # `from .head import x` stays inside the room
                continue
            names = [f"{origin}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            yield name, getattr(node, "for_types", False)


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_the_rooms_it_may(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"a new room: say in MAY_IMPORT what {room} may import"
    for name, for_types in imports(path):
        if not name.startswith("stride."):
            continue
        other = name.split(".")[1]
        if other == room or (for_types and (room, other) in FOR_TYPES_ONLY):
            continue
        assert other in MAY_IMPORT[room], f"{room} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_runs_before_torch_imports_nothing_heavy_at_its_top(path):
    if room_of(path) not in WITHOUT_TORCH or str(path.relative_to(SOURCE)) in WITH_TORCH:
        return
    heavy = {"torch", "pytorch_lightning", "torchmetrics", "sklearn", "matplotlib", "optuna", "hydra", "omegaconf"}
    ours = {f"stride.{name.removesuffix('.py').replace('/', '.')}" for name in WITH_TORCH}
    for name, _ in imports(path, top_level_only=True):
        assert name.split(".")[0] not in heavy, f"{path.name} imports {name}"
        assert not any(f"{name}.".startswith(f"{one}.") for one in ours), f"{path.name} imports {name}"


def test_only_build_instantiates():
    users = {room_of(path) for path in FILES for name, _ in imports(path) if name == "hydra.utils.instantiate"}
    assert users == {"build"}


def test_lightning_has_one_name():
    for path in [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        assert not any(name.split(".")[0] == "lightning" for name, _ in imports(path)), path


def test_no_room_has_a_name_that_says_nothing():
    named = {part.removesuffix(".py") for path in FILES for part in path.relative_to(SOURCE).parts}
    assert not named & {"utils", "util", "helpers", "helper", "manager", "base", "components", "common", "misc"}


def test_the_door_is_a_door():
    assert len((ROOT / "train.py").read_text().splitlines()) <= 15


def test_what_people_type_is_what_they_typed_before():
    """A contract: a key or choice leaves this list only with an issue that says so."""
    front = set(re.findall(r"^(\w+):", (ROOT / "conf" / "train.yaml").read_text(), flags=re.MULTILINE)) - {"defaults"}
    assert {"task", "name", "run", "cv", "seed", "deterministic", "test", "predictions", "output_root"} <= front
    there = groups(ROOT / "conf")
    for group, choices in {
        "model": "mlp cnn resnet transformer",
        "datamodule": "digits breast_cancer wine diabetes text",
        "objective": "classification regression language_model",
        "optimizer": "sgd sgd_nesterov adam adamw nadam radam rmsprop adagrad adadelta adafactor muon "
        "schedule_free_adamw schedule_free_sgd prodigy",
        "scheduler": "none constant linear cosine cosine_restarts polynomial exponential step multistep inverse_sqrt "
        "wsd rex one_cycle cyclic sequence torch plateau",
        "warmup": "none linear exponential cosine untuned",
        "param_groups": "none no_decay layer_decay by_regex finetune mup",
        "lr_finder": "none on thorough",
        "callbacks": "default none",
        "trainer": "default cpu gpu ddp fsdp",
        "logger": "default tensorboard csv none wandb mlflow",
        "experiment": "none digits breast_cancer wine diabetes text",
        "debug": "none one_batch overfit profiler limited",
        "sweep": "grid random bayes",
        "hydra": "default",
    }.items():
        assert set(choices.split()) <= set(there[group]), group


def test_every_yaml_says_what_it_is_and_how_to_type_it():
    for path in (ROOT / "conf").rglob("*.yaml"):
        first = next(line for line in path.read_text().splitlines() if not line.startswith("# @package"))
        assert first.startswith("# "), path


def test_a_config_calls_nothing_of_a_room_that_runs_the_training():
    """What a config may call is what some config of ours does call, and the module that one's own inherits from."""
    texts = [path.read_text() for path in (ROOT / "conf").rglob("*.yaml")]
    called = {room for text in texts for room in re.findall(rf"_target_: {SOURCE.name}\.(\w+)", text)} - {"report"}
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert {room for room in rooms if not check.ACTS.fullmatch(room)} == called | {"module"}
