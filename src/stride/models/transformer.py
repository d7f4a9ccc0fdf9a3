"""A small decoder-only transformer: a language model."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Transformer(nn.Module):
    """Predicts each next token from those before it (Vaswani et al., 2017, arXiv:1706.03762).

    Input int64 tokens `(batch, time)` with time <= `context`; output logits `(batch, time, vocabulary)`, which
    at t depend on tokens 0 to t only. Blocks are pre-norm with a GELU MLP four times as wide; positions are
    learned and the start is that of GPT-2 (Radford et al., 2019). The output layer has its own weight: tying
    it to the embedding (Press and Wolf, 2016, arXiv:1608.05859) saves `vocabulary` * `width` weights, little
    for a vocabulary of characters, and forces one learning rate on two layers that may want different ones.

    Raises ValueError if `width` is not a multiple of `heads`, and for a sequence longer than `context`.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"`width` must be a multiple of `heads`, but got width={width}, heads={heads}")
        self.context = context
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads=heads, dropout=dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self._start(depth)

    def _start(self, depth: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        # 2 * depth branches are added up: smaller ones keep their sum's variance that of one.
        for block in self.blocks:
            nn.init.normal_(block.attention.project.weight, std=0.02 / (2 * depth) ** 0.5)
            nn.init.normal_(block.mlp.project.weight, std=0.02 / (2 * depth) ** 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        if time > self.context:
            raise ValueError(f"`time <= context` must hold, but got time={time}, context={self.context}")
        embedded = self.tokens(tokens) + self.positions(torch.arange(time, device=tokens.device))
        return self.head(self.norm(self.blocks(self.dropout(embedded))))


class Block(nn.Module):
    """Attention, then MLP, each normed before and added to its input: `(batch, time, width)` to the same."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads=heads, dropout=dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = FeedForward(width, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Attention(nn.Module):
    """Causal self-attention with `heads` heads: `(batch, time, width)` to the same."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        # (batch, time, 3 * width) -> query, key, value, each (batch, heads, time, width / heads)
        query, key, value = self.query_key_value(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout.p if self.training else 0.0, is_causal=True
        )
        return self.dropout(self.project(attended.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    """An MLP applied at every position: `(batch, time, width)` to the same."""

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.project = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(F.gelu(self.expand(x))))
