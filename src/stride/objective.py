import torch
from torch import nn


class Objective(nn.Module):
    def __init__(self, *, loss, metrics=None, score):
        super().__init__()
        self.loss = loss
        self.metrics = nn.ModuleDict(metrics or {})
        self.score = score

    def forward(self, output, target):
        return self.loss(output, target)

    def decode(self, output):
        p = output.softmax(-1).max(-1)
        return {"class": p.indices, "probability": p.values}


class Classification(Objective): ...
