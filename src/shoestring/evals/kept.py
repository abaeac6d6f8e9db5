"""Evaluations as they lie on disk: a unit's JSON beside the Parquet file of its replies."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.evals.item import Item, load_items
from shoestring.evals.receipt import Receipt, check


@dataclass(frozen=True)
class Kept:
    """label, variant: which model, asked in which way. values: the unit's JSON."""

    path: Path
    label: str
    variant: str
    receipt: Receipt
    items: tuple[Item, ...]
    values: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.label} / {self.variant}" if self.variant else self.label

    @property
    def marks(self) -> dict[str, float]:
        """Problem -> the share of its samples that are right; open ones aside."""
        several: dict[str, list[bool]] = {}
        for item in self.items:
            if item.outcome != "open":
                several.setdefault(item.problem, []).append(item.outcome == "right")
        return {problem: sum(marks) / len(marks) for problem, marks in several.items()}


def faults(kept: Kept) -> list[str]:
    """What of a kept evaluation doesn't hold: its receipt for its replies, its figures for its receipt; []
    where all does. For somebody who was given it."""
    receipt, values = kept.receipt, kept.values
    told = {name: values.get(name) for name in ("suite", "n", "k", "seed", "correct")}
    found = [
        f"{name} is {value}, and its receipt says {vars(receipt)[name]}"
        for name, value in told.items()
        if value != vars(receipt)[name]
    ]
    if receipt.replies and abs(values.get("score", -1) - receipt.correct / receipt.replies) > 1e-9:
        found.append(f"score is {values.get('score')}, and {receipt.correct} of {receipt.replies} were right")
    return [*found, *check(values["receipt"], kept.items)]


def read_kept(path: Path) -> list[Kept]:
    """A unit's JSON file, or all of a folder's: an evaluation's own (`--output-dir`), a stage's or its
    evals/. Raises BadInput."""
    if path.is_file():
        return [_read(path)]
    if not path.is_dir():
        raise BadInput(f"no such evaluation: {path}")
    folder = path / "evals" if (path / "evals").is_dir() else path
    units = [file for file in sorted(folder.glob("*.json")) if "receipt" in _json(file)]
    if not units:
        raise BadInput(
            f"{path} holds no evaluation with a receipt; make one with shoestring eval --output-dir"
        )
    return [_read(file) for file in units]


def _read(path: Path) -> Kept:
    values = _json(path)
    if not values.get("receipt") or "rows" not in values:
        raise BadInput(f"{path} is no kept evaluation: it has no receipt, or an earlier version made it")
    items = load_items(path.parent / values["rows"])
    receipt = Receipt.of(values["receipt"])
    return Kept(path, values["model"], values["variant"], receipt, tuple(items), values)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(f"{path} is no kept evaluation: {error}") from None
    return values if isinstance(values, dict) else {}
