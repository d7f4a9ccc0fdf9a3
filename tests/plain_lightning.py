"""What most people write: Lightning by itself, which goes on from its last checkpoint. It shows that faults are seen.

python plain_lightning.py FOLDER [number of workers] [folder for TensorBoard]
"""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from own_loader import Wine
from torch import nn


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(13, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters())
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=24)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


folder, workers, board = [*sys.argv[1:], *["0", ""][len(sys.argv) - 2 :]]
pl.seed_everything(42, workers=True, verbose=False)
trainer = pl.Trainer(
    max_epochs=3,
    logger=pl.loggers.TensorBoardLogger(board, name="tensorboard", version="") if board else False,
    log_every_n_steps=1,
    enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=3, save_last=True)],
)
trainer.fit(Net(), datamodule=Wine(batch_size=16, num_workers=int(workers)), ckpt_path="last")
trainer.save_checkpoint(Path(folder) / "final.ckpt")
