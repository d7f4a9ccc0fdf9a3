"""Results that are kept: a line of JSON each, under a key made of everything that decides it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Store:
    """A folder of `NAME.jsonl`; a result is written once and found again by what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line for path in folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
        self.results: dict[str, dict[str, Any]] = {found["key"]: found for found in map(json.loads, lines)}

    def get(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        return self.results.get(key(asked))

    def put(self, name: str, asked: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Append a result to the file `name`; `told` is all that the line holds beside the key."""
        found = {"key": key(asked), **told}
        self.results[found["key"]] = found
        with (self.folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(found, separators=(",", ":")) + "\n")


def key(asked: Mapping[str, Any]) -> str:
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
