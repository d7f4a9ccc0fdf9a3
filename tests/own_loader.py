"""A user's own datamodule: an ordinary DataLoader that shuffles and augments."""

import random

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_wine
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = torch.randn(13) * 0.1 + np.random.randn() * 0.1 + random.random() * 0.1
        return self.x[index] + noise, self.y[index]


class Wine(pl.LightningDataModule):
    @property
    def spec(self):
        return {"features": 13, "classes": 3}

    def __init__(self, batch_size: int, num_workers: int = 0, **others_of_wine):
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers

    def setup(self, stage=None):
        x, y = load_wine(return_X_y=True)
        x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        self.x, self.y = x[order], torch.tensor(y)[order]

    def train_dataloader(self):
        data = Noisy(self.x[:124], self.y[:124])
        return DataLoader(data, self.batch_size, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self):
        return DataLoader(torch.utils.data.TensorDataset(self.x[124:150], self.y[124:150]), 32)

    def test_dataloader(self):
        return DataLoader(torch.utils.data.TensorDataset(self.x[150:], self.y[150:]), 32)
