"""Training speed: Stride as a user gets it, beside a bare PyTorch loop and the pipeline that templates ship.

    python benchmarks/throughput.py              three rounds, one thread; prints medians and ratios

One task for all: the MLP of the leading Lightning + Hydra template (784-64-128-64-10 with BatchNorm, Adam,
batch 128) on 27,500 made-up images of MNIST's shape, three epochs, validated on 2,500 after each. The bare loop
has no logging, no metrics but the validation loss, no checkpoints. `templates` is what that template does per
sample and per step: PIL image -> tensor -> normalise in a Dataset behind ConcatDataset and random_split, a
DataLoader, torchmetrics called and logged in each step, Lightning's RichProgressBar, ModelCheckpoint, EarlyStopping.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, TensorDataset, random_split
from torchmetrics import MeanMetric
from torchmetrics.classification import Accuracy

from stride import build
from stride.datamodules.in_memory import InMemory
from stride.logs import log_file
from stride.pipeline import checked

BATCH, EPOCHS, TRAIN, VAL = 128, 3, 27_500, 2_500


def images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pixels (count, 1, 28, 28) in uint8 and labels of ten classes: speed does not ask what they show."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 28, 28), generator=random, dtype=torch.uint8)
    return pixels, torch.randint(0, 10, (count,), generator=random)


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() / 255 - 0.1307) / 0.3081


class MnistShaped(InMemory):
    """The benchmark's data behind Stride's own loader."""

    @property
    def spec(self):
        return {"classes": 10, "features": 784}

    def load(self):
        return tuple((scaled(x), y) for x, y in (images(TRAIN, 0), images(VAL, 1), images(VAL, 2)))


class Clock(pl.Callback):
    """Seconds from the first step to the end of training, validation included."""

    def on_train_start(self, trainer, pl_module):
        self.start = time.perf_counter()

    def on_train_end(self, trainer, pl_module):
        self.seconds = time.perf_counter() - self.start


def network() -> nn.Module:
    layers, before = [], 784
    for width in (64, 128, 64):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
        before = width
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(before, 10))


def bare() -> float:
    (x, y), (val_x, val_y) = ((scaled(x), y) for x, y in (images(TRAIN, 0), images(VAL, 1)))
    model, loss = network(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start, steps = time.perf_counter(), 0
    for _ in range(EPOCHS):
        order = torch.randperm(TRAIN)
        for k in range(0, TRAIN, BATCH):
            index = order[k : k + BATCH]
            optimizer.zero_grad()
            loss(model(x.index_select(0, index)), y.index_select(0, index)).backward()
            optimizer.step()
            steps += 1
        model.eval()
        with torch.no_grad():
            sum(loss(model(val_x[k : k + 1024]), val_y[k : k + 1024]) for k in range(0, VAL, 1024))
        model.train()
    return steps / (time.perf_counter() - start)


def stride() -> float:
    words = ["model=mlp", "model.hidden=[64,128,64]", f"trainer.max_epochs={EPOCHS}", "trainer=cpu"]
    cfg = checked(words).cfg
    cfg.datamodule = OmegaConf.create({"_target_": "throughput.MnistShaped", "batch_size": BATCH, "seed": 42})
    with tempfile.TemporaryDirectory() as folder, log_file(None):
        parts = build.run(cfg, Path(folder), cfg.optimizer.lr)
        clock = Clock()
        parts.trainer.callbacks.append(clock)
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
        return parts.trainer.global_step / clock.seconds


class Loss(pl.LightningModule):
    """Lightning with nothing on top: what its Trainer alone costs."""

    def __init__(self):
        super().__init__()
        self.model, self.loss = network(), nn.CrossEntropyLoss()

    def training_step(self, batch, _):
        return self.loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val/loss", self.loss(self.model(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Templates(Loss):
    """Metrics called and logged in every step."""

    def __init__(self):
        super().__init__()
        self.mean, self.accuracy = MeanMetric(), Accuracy(task="multiclass", num_classes=10)

    def training_step(self, batch, _):
        output = self.model(batch[0])
        loss = self.loss(output, batch[1])
        self.mean(loss)
        self.accuracy(output.argmax(dim=1), batch[1])
        self.log("train/loss", self.mean, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss


class ToTensor:
    """torchvision's, operation by operation: a PIL image to float32 (channels, height, width) in [0, 1]."""

    def __call__(self, image):
        tensor = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.size[1], image.size[0], 1)
        return tensor.permute((2, 0, 1)).contiguous().to(dtype=torch.get_default_dtype()).div(255)


class Normalize(nn.Module):
    """torchvision's, operation by operation."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, tensor):
        tensor = tensor.clone()
        mean = torch.as_tensor(self.mean, dtype=tensor.dtype, device=tensor.device)
        std = torch.as_tensor(self.std, dtype=tensor.dtype, device=tensor.device)
        if (std == 0).any():
            raise ValueError("std is zero")
        return tensor.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


class PerSample(Dataset):
    """Image by image, as torchvision's MNIST with ToTensor and Normalize (which takes a tenth longer still)."""

    def __init__(self, count: int, seed: int):
        pixels, self.labels = images(count, seed)
        self.pixels, self.transforms = pixels[:, 0], (ToTensor(), Normalize((0.1307,), (0.3081,)))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        from PIL import Image

        image, label = Image.fromarray(self.pixels[index].numpy()), int(self.labels[index])
        for transform in self.transforms:
            image = transform(image)
        return image, label


def lightning(module: pl.LightningModule, train, val, **trainer) -> float:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, log_file(None):
        fit = pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            num_sanity_val_steps=0,
            default_root_dir=folder,
            enable_model_summary=False,
            **{**trainer, "callbacks": [*trainer.pop("callbacks", ()), clock]},
        )
        fit.fit(module, DataLoader(train, BATCH, shuffle=True), DataLoader(val, 1024))
        return fit.global_step / clock.seconds


def trainer_only() -> float:
    train, val = (TensorDataset(scaled(x), y) for x, y in (images(TRAIN, 0), images(VAL, 1)))
    return lightning(Loss(), train, val, logger=False, enable_checkpointing=False, enable_progress_bar=False)


def templates() -> float:
    train, val = random_split(ConcatDataset([PerSample(TRAIN, 0), PerSample(VAL, 1)]), [TRAIN, VAL])
    best = pl.callbacks.ModelCheckpoint(monitor="val/loss", save_last=True)
    watchers = [best, pl.callbacks.EarlyStopping("val/loss", patience=100), pl.callbacks.RichProgressBar()]
    return lightning(Templates(), train, val, logger=False, callbacks=watchers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds; in each all are run in turn (default 3)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    contestants = {
        "bare loop": bare,
        "Stride as a user gets it": stride,
        "Lightning, nothing on": trainer_only,
        "templates": templates,
    }
    speeds = {name: [] for name in contestants}
    for run in contestants.values():
        run()  # once uncounted: libraries load parts of themselves in the first steps
    for _ in range(rounds):
        for name, run in contestants.items():
            speeds[name].append(run())
    print(f"\ntorch {torch.__version__}, pytorch-lightning {pl.__version__}, 1 thread, {rounds} rounds")
    print(f"{'':<26}{'steps/s':>10}{'of the bare loop':>20}{'of templates':>16}")
    for name in contestants:
        of_bare = statistics.median(a / b for a, b in zip(speeds[name], speeds["bare loop"], strict=True))
        of_templates = statistics.median(a / b for a, b in zip(speeds[name], speeds["templates"], strict=True))
        print(f"{name:<26}{statistics.median(speeds[name]):>10.0f}{of_bare:>20.2f}{of_templates:>16.1f}")


if __name__ == "__main__":
    main()
