"""What every trial of a sweep does before it trains, done once: imports, the first config, the first picture.

The fork server loads this module, and each trial that is forked from it finds it done. Nothing here may start a
thread or leave a file open: both would be broken in the trials.
"""

import atexit
import gc
import importlib
import pkgutil
from io import BytesIO

import pytorch_lightning  # noqa: F401
import sklearn.datasets
import tensorboard.plugins.hparams.metadata  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
import torchmetrics  # noqa: F401
from matplotlib.figure import Figure

from stride import callbacks, cli, module  # noqa: F401
from stride.pipeline import checked
from stride.report import report  # noqa: F401

for found in pkgutil.iter_modules(callbacks.__path__, "stride.callbacks."):
    importlib.import_module(found.name)

checked([])  # Hydra's parser learns its grammar from the first line that it reads
sklearn.datasets.load_digits()
figure = Figure(layout="constrained")
figure.subplots().set(yscale="log", xlabel="matplotlib looks for its fonts")
figure.savefig(BytesIO(), format="png")

atexit.register(gc.unfreeze)  # else the server's end is told as a leak
gc.collect()
gc.freeze()  # no collection in a trial walks through, and so copies, what all of them share
