"""Where a row came from, and what reached a model. Every model folder carries a `lineage.json` made here."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput

LINEAGE_FILE = "lineage.json"
LINEAGE_KEY = "shoestring.lineage"  # a GGUF file's metadata: what lineage.json holds
ALWAYS = ("source", "licence", "teacher")
PERMITTED = "permitted: "  # how `terms` of a row begins where a permission let it in
LONGEST_PERMISSION = 4000  # characters


@dataclass(frozen=True)
class Origin:
    """Where rows came from. `teacher` names the model that wrote them; None means no model did. Nothing here
    is one row's own (its id, its sample's number): the distinct origins of a training stay few."""

    source: str  # e.g. "procedural:sums", "file:problems.jsonl", "gym:countdown"
    licence: str  # of the row, not of its teacher: SPDX name, or "unknown"
    teacher: str | None = None
    teacher_sha256: str = ""  # of the teacher's weights; "" where they weren't at hand (over HTTP)
    teacher_licence: str = ""
    sampling: str = ""  # how the teacher was asked, e.g. "temperature 1.0, top_p 0.95"
    date: str = ""  # the day on which the teacher wrote, ISO 8601
    terms: str = ""  # the verdict that let the rows in, with the permission where one was given
    outcome: str = ""  # what the task's scorer said of the row
    teacher_endpoint: str = ""  # the address it answered at, whose own terms may decide; "" for one here

    @property
    def permission(self) -> str:
        """That let the rows in, as they say; "" where none did."""
        return self.terms.removeprefix(PERMITTED) if self.terms.startswith(PERMITTED) else ""

    @property
    def teacher_key(self) -> str:
        """What a lineage has this teacher's own stages under; "" where no model wrote the rows."""
        return self.teacher_sha256 or self.teacher or ""

    def to_json(self) -> dict[str, Any]:
        """Without what isn't known, but for the three first, which every lineage.json has."""
        known = dataclasses.asdict(self)
        return {name: value for name, value in known.items() if value or name in ALWAYS}


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
    """All that reached a model, oldest first. `teachers`: the stages of the models that wrote its rows, of
    their teachers too, each under its `Origin.teacher_key`; one table, however many stages lie between."""

    stages: tuple[Stage, ...] = ()
    teachers: Mapping[str, tuple[Stage, ...]] = field(default_factory=dict)

    @property
    def licence(self) -> str:
        """Of the weights that it began with; "" where nobody says."""
        return next((str(s.detail["licence"]) for s in self.stages if s.detail.get("licence")), "")

    def then(self, stage: Stage, teachers: Mapping[str, tuple[Stage, ...]] | None = None) -> "Lineage":
        return Lineage((*self.stages, stage), {**self.teachers, **(teachers or {})})

    def as_teacher(self, key: str) -> dict[str, tuple[Stage, ...]]:
        """What a model's rows bring into a student's `teachers`: its own stages and its teachers'."""
        return {**self.teachers, key: self.stages}

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"stages": [_stage_json(stage) for stage in self.stages]}
        if self.teachers:
            known = self.teachers.items()
            found["teachers"] = {key: [_stage_json(stage) for stage in stages] for key, stages in known}
        return found

    def save(self, folder: Path) -> None:
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        (folder / LINEAGE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Lineage":
        """The folder's lineage; a folder from elsewhere has one stage of unknown making. Raises BadInput."""
        path = folder / LINEAGE_FILE
        if not path.exists():
            return cls((Stage(name=folder.name, job="unknown", date="", detail={"path": folder.name}),))
        return cls.read(path)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Lineage":
        """From its `to_json`."""
        teachers = raw.get("teachers", {}).items()
        return cls(_stages(raw["stages"]), {key: _stages(stages) for key, stages in teachers})

    @classmethod
    def read(cls, path: Path) -> "Lineage":
        return cls.parse(path.read_text(encoding="utf-8"), f"{path}")

    @classmethod
    def parse(cls, text: str, where: str) -> "Lineage":
        """Raises BadInput, which names `where`."""
        try:
            return cls.of(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{where} is not a lineage file: {error}") from None


def read_permission(given: str, beside: Path = Path()) -> str:
    """A permission as rows, lineages and cards keep it: the text, in one line, or that of the file which
    `given` names, as it is seen from the folder `beside`. "" where none is given. Raises BadInput."""
    text, where, path = given, "", beside / given
    # os.path's takes a text that is too long for a name too
    is_file = bool(given) and "\n" not in given and os.path.isfile(path)
    if not is_file and path.suffix and len(given) < 1000 and " " not in given:
        raise BadInput(f"permission: no such file: {path}")
    if is_file:
        try:
            text, where = path.read_text(encoding="utf-8"), f" ({path.name})"
        except (UnicodeDecodeError, OSError) as error:
            raise BadInput(f"permission: {path} is no text that can be read: {error}") from None
    text = " ".join(text.split())
    if given and len(text) < 10:
        raise BadInput(f"permission {text!r}: say who permits what, and when, or name a file that does")
    if len(text + where) > LONGEST_PERMISSION:
        raise BadInput(
            f"permission: {len(text)} characters, at most {LONGEST_PERMISSION} are kept: quote what permits"
        )
    return text + where if text else ""


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {**dataclasses.asdict(stage), "origins": [origin.to_json() for origin in stage.origins]}


def _stages(raw: list[dict[str, Any]]) -> tuple[Stage, ...]:
    return tuple(Stage(**{**stage, "origins": tuple(Origin(**o) for o in stage["origins"])}) for stage in raw)
