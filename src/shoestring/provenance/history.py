"""The history of rows and models: every field of a row, every origin of a model, and the strictest term of
all."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.model_files import lineage_at
from shoestring.origin import Lineage, Origin, Stage
from shoestring.provenance.naming import duties_of
from shoestring.provenance.reach import Reach, claimed, reaches, term_of_model, term_of_origin
from shoestring.provenance.terms import Duty, Term, strictest
from shoestring.text.conversations import read_rows
from shoestring.text.declared import declared, origin_of, permissions_of, teachers_of

TEXT = (
    "messages",
    "conversations",
    "prompt",
    "completion",
    "text",
    "chosen",
    "rejected",
    "response",
)  # no history


@dataclass(frozen=True)
class RowHistory:
    """number: from 1, its place in the file. term: None where no model wrote it. fields: all that it carries
    besides its text."""

    id: str
    number: int
    origin: Origin
    term: Term | None
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class DataHistory:
    """taught: for each teacher whose lineage lies beside the file, all that reached it."""

    path: Path
    rows: list[RowHistory]
    taught: Mapping[str, list[Reach]]

    @property
    def strictest(self) -> Term | None:
        return strictest(row.term for row in self.rows if row.term)

    @property
    def without_origin(self) -> list[RowHistory]:
        return [row for row in self.rows if not row.origin.licence]

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows by each part of their origin, the most frequent first."""
        parts = {
            "source": (row.origin.source for row in self.rows),
            "licence": (row.origin.licence or "not declared" for row in self.rows),
            "teacher": (row.origin.teacher or "no model" for row in self.rows),
            "terms": (row.term.text if row.term else "no model" for row in self.rows),
            "outcome": (row.origin.outcome or "not said" for row in self.rows),
        }
        return {name: dict(Counter(values).most_common()) for name, values in parts.items()}

    def row(self, wanted: str) -> RowHistory:
        """By its id, or by its number as FILE#7 or 7. Raises BadInput."""
        number = wanted.removeprefix(f"{self.path.name}#")
        found = [row for row in self.rows if row.id == wanted] or [
            r for r in self.rows if str(r.number) == number
        ]
        if not found:
            raise BadInput(
                f"{self.path} has no row '{wanted}': give its id, or its number from 1 to {len(self.rows)}"
            )
        return found[0]


@dataclass(frozen=True)
class ModelHistory:
    """term: what holds for training others on its outputs. duties: what its name and card must show."""

    name: str
    lineage: Lineage
    reached: list[Reach]
    term: Term
    duties: tuple[Duty, ...]


def history_of_data(path: Path) -> DataHistory:
    """Raises BadInput where the file can't be read. Rows without an origin are among the rows."""
    said, teachers, given = declared(path), teachers_of(path), permissions_of(path)
    judged: dict[Origin, Term] = {}
    rows = []
    for number, row in enumerate(read_rows(path), start=1):
        if not isinstance(row, dict):
            raise BadInput(f"{path}, row {number}: not an object with named fields")
        origin = origin_of(row, path, said)
        if origin.teacher and origin not in judged:
            judged[origin] = term_of_origin(claimed(origin, given), teachers)
        fields = {name: value for name, value in row.items() if name not in TEXT and value is not None}
        name = str(row.get("id") or f"{path.name}#{number}")
        rows.append(RowHistory(name, number, origin, judged.get(origin), fields))
    keys = {row.origin.teacher_key: row.origin.teacher for row in rows if row.origin.teacher}
    taught = {name: _of_teacher(key, teachers) for key, name in keys.items() if name and key in teachers}
    return DataHistory(path, rows, taught)


def history_of_model(target: str) -> ModelHistory:
    """Of a base's name, a folder, a .gguf file, a run or stage. Raises BadInput."""
    name, lineage = lineage_at(target)
    return ModelHistory(name, lineage, reaches(lineage), term_of_model(lineage, name), duties_of(lineage))


def data_file(target: str) -> Path | None:
    """The rows meant by a file, or by the folder of a stage that made some; None where it means a model."""
    path = Path(target)
    if path.suffix in (".jsonl", ".parquet"):
        return path
    return next((path / name for name in ("rows.jsonl", "rows.parquet") if (path / name).is_file()), None)


def _of_teacher(key: str, teachers: Mapping[str, tuple[Stage, ...]]) -> list[Reach]:
    others = {name: stages for name, stages in teachers.items() if name != key}
    return reaches(Lineage(teachers[key], others))


def in_words(reach: Reach) -> str:
    """One thing that reached a model, in a line."""
    through = " < ".join(reversed(reach.path))
    if reach.kind == "base":
        return f"{through}: weights, licence {reach.licence}; {reach.term.text if reach.term else ''}"
    assert reach.origin is not None
    return f"{through}: " + "; ".join(origin_lines(reach.origin, reach.term))


def origin_lines(origin: Origin, term: Term | None) -> Iterator[str]:
    yield f"{origin.source}, licence {origin.licence or 'not declared'}"
    if origin.teacher:
        weights = f" (weights {origin.teacher_sha256[:16]})" if origin.teacher_sha256 else ""
        asked = f" at {origin.sampling}" if origin.sampling else ""
        yield f"written by {origin.teacher}{weights}{asked}{f' on {origin.date}' if origin.date else ''}"
        yield f"terms {term.text if term else origin.terms or 'not known'}"
    if origin.outcome:
        yield f"outcome {origin.outcome}"
