"""Language modelling on any text, byte by byte."""

import sysconfig
from pathlib import Path

import torch

from stride.datamodules.batches import Batch
from stride.datamodules.in_memory import InMemory
from stride.datamodules.split import check_fractions


class Text(InMemory):
    """Windows of `context` bytes of a text file or folder: x int64 (B, T), and y, the same shifted on by one.

    The vocabulary is the 256 bytes of UTF-8: the same for every text and machine, and nothing is ever
    unknown. In code and in English nearly every byte is a character. `path` null reads the Python standard
    library's own sources, which every machine has (and which differ a little between Python versions). A
    folder gives its files that match `pattern`, in sorted order, as one text. Reading stops at `max_bytes`.

    The parts are contiguous: train, then validation, then test. Windows drawn at random would put the middle
    of a function into training and its end into the test, and so reward memory. An epoch is every window of
    the train part once. Windows do not overlap; what is left at the end of a part, less than a window, is not
    used. Folds, too, are contiguous blocks of windows, and no byte is predicted both in training and in
    validation.

    Raises ValueError if the path is not there, nothing matches, or a part is too short for a window.
    """

    in_order = True

    def __init__(
        self,
        *,
        context: int,
        batch_size: int,
        seed: int,
        eval_batch_size: int = 256,
        drop_last: bool = False,
        path: str | None = None,
        pattern: str = "*.py",
        max_bytes: int = 2_000_000,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, eval_batch_size=eval_batch_size, drop_last=drop_last)
        check_fractions(val_fraction, test_fraction)
        if context < 1:
            raise ValueError(f"`context >= 1` must hold, but got context={context}")
        self.context, self.pattern, self.max_bytes = context, pattern, max_bytes
        self.path = Path(sysconfig.get_path("stdlib") if path is None else path).expanduser()
        self.val_fraction, self.test_fraction = val_fraction, test_fraction

    def load(self) -> tuple[Batch, Batch, Batch]:
        text = read(self.path, pattern=self.pattern, max_bytes=self.max_bytes)
        val, test = int(len(text) * self.val_fraction), int(len(text) * self.test_fraction)
        train = len(text) - val - test
        if min(train, val, test) <= self.context:
            raise ValueError(
                f"each part must hold at least `context + 1` bytes, but the text in {self.path} with "
                f"context={self.context} gives train={train}, val={val}, test={test}"
            )
        tokens = torch.frombuffer(text, dtype=torch.uint8).long()
        first, second, third = tokens.split([train, val, test])
        return windows(first, self.context), windows(second, self.context), windows(third, self.context)

    @property
    def spec(self) -> dict[str, int]:
        """What a model has to fit: the number of different tokens, and the length of a window."""
        return {"vocabulary": 256, "context": self.context}

    @staticmethod
    def encode(text: str) -> torch.Tensor:
        """The text as tokens: int64 (T,)."""
        return torch.tensor(list(text.encode()), dtype=torch.long)

    @staticmethod
    def decode(tokens: torch.Tensor) -> str:
        """The tokens (T,) as text. What is no valid UTF-8, as a cut character, becomes U+FFFD."""
        return bytes(tokens.tolist()).decode(errors="replace")


def windows(tokens: torch.Tensor, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y, (N, context) each, of tokens (T,): y is x one token on. Both are views of `tokens`."""
    end = (len(tokens) - 1) // context * context
    return tokens[:end].view(-1, context), tokens[1 : end + 1].view(-1, context)


def read(path: Path, *, pattern: str, max_bytes: int) -> bytearray:
    """The first `max_bytes` of a file, or of a folder's files that match `pattern`, sorted and joined.

    Raises ValueError if `path` is not there or nothing in it matches.
    """
    if not path.exists():
        raise ValueError(f"`path` must be a text file or a folder, but there is no path={path}")
    files = [path] if path.is_file() else sorted(file for file in path.glob(pattern) if file.is_file())
    if not files:
        raise ValueError(f"`pattern` must match a file in {path}, but got pattern={pattern}")
    text = bytearray()
    for file in files:
        if len(text) >= max_bytes:
            break
        with file.open("rb") as source:
            text += source.read(max_bytes - len(text))
    return text
