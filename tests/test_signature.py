"""What the source says of a target is what Python says of it once it is imported."""

import importlib
import inspect
import subprocess
import sys

import pytest

from stride.signature import NoSuchTarget, signature

TARGETS = [
    "torch.optim.AdamW",
    "torch.optim.SGD",
    "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "torch.nn.CrossEntropyLoss",
    "torch.nn.MSELoss",  # __init__ of a base class
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.loggers.TensorBoardLogger",
    "sklearn.model_selection.KFold",
    "stride.lr.schedule.cosine",
    "stride.models.cnn.CNN",
    "stride.errors.Fault",  # a dataclass
]


@pytest.mark.parametrize("target", TARGETS)
def test_the_source_names_the_arguments_that_the_object_takes(target):
    module, _, name = target.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    found = signature(target)
    assert found is not None
    assert list(found.arguments) == [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    assert found.open == any(p.kind is p.VAR_KEYWORD for p in parameters)


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamWW",
        "torch.nn.CrossEntropy",
        "stride.lr.schedule.cosin",
        "torch.optmi.Adam",
        "no_such_package.A",
    ],
)
def test_a_name_that_its_module_does_not_define_is_wrong(target):
    with pytest.raises(NoSuchTarget):
        signature(target)


@pytest.mark.parametrize("target", ["torchmetrics.Accuracy", "torch._C.Generator"])
def test_what_the_source_does_not_say_is_unknown_and_not_wrong(target):
    assert signature(target) is None


def test_nothing_is_imported_to_find_out():
    script = (
        "import sys; from stride.signature import signature; signature('torch.optim.AdamW'); "
        "signature('pytorch_lightning.Trainer'); print('torch' in sys.modules, 'pytorch_lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False False\n"
