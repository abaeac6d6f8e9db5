"""Where a row came from, and what reached a model. Every model folder carries a `lineage.json` made here."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput

LINEAGE_FILE = "lineage.json"


@dataclass(frozen=True)
class Origin:
    """Where one row came from. `teacher` names the model that wrote it; None means no model did."""

    source: str  # e.g. "procedural:sums", "file:problems.jsonl", "gym:countdown"
    licence: str  # SPDX name, or "unknown"
    teacher: str | None = None


@dataclass(frozen=True)
class Stage:
    """One step in a model's life: the base as it was taken, or a job that changed the weights."""

    name: str
    job: str  # "base", "sft", "grpo", ...
    date: str  # ISO 8601, UTC
    detail: dict[str, Any] = field(default_factory=dict)  # settings hash, file hash, steps, seed
    origins: tuple[Origin, ...] = ()  # of every row that was trained on, distinct


@dataclass(frozen=True)
class Lineage:
    """All that reached a model, oldest first."""

    stages: tuple[Stage, ...] = ()

    def then(self, stage: Stage) -> "Lineage":
        return Lineage((*self.stages, stage))

    def save(self, folder: Path) -> None:
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        (folder / LINEAGE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Lineage":
        """The folder's lineage; a folder from elsewhere has one stage of unknown making. Raises BadInput."""
        path = folder / LINEAGE_FILE
        if not path.exists():
            return cls((Stage(name=folder.name, job="unknown", date="", detail={"path": folder.name}),))
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                tuple(
                    Stage(**{**stage, "origins": tuple(Origin(**o) for o in stage["origins"])})
                    for stage in raw["stages"]
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} is not a lineage file: {error}") from None
