"""What rejection sampling writes: its rows, what it dropped, and who wrote them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.origin import Lineage
from shoestring.rl.accept import Decision
from shoestring.run import write_atomic
from shoestring.text.declared import lineage_file
from shoestring.text.message import Message

ROWS, DROPPED = "rows.jsonl", "dropped.jsonl"


@dataclass(frozen=True)
class Teacher:
    """Who wrote the rows. name: the model's life in names and its weights' hash, shortened. terms: the
    verdict that lets others be trained on them."""

    name: str
    sha256: str
    lineage: Lineage
    terms: str


def teacher_name(lm: LanguageModel, sha256: str) -> str:
    names = [stage.name for stage in lm.lineage.stages]
    return f"{' > '.join(names) or lm.name} (sha256 {sha256[:16]})"


def weights_sha256(lm: LanguageModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in lm.network.public_tensors():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write(
    folder: Path,
    decisions: Sequence[Decision],
    teacher: Teacher,
    system: str | None,
    sampling: Mapping[str, float | int],
) -> None:
    """rows.jsonl, what is kept as conversations, and dropped.jsonl, the rest with the reason; first the
    teacher's own lineage, which goes on to whoever is trained on the rows."""
    kept = [_row(d, teacher, system, sampling) for d in decisions if not d.reason]
    dropped = [{"reason": d.reason, **_row(d, teacher, system, sampling)} for d in decisions if d.reason]
    write_lineage(folder / ROWS, teacher)
    _write_rows(folder / DROPPED, dropped)
    _write_rows(folder / ROWS, kept)


def write_lineage(rows: Path, teacher: Teacher) -> None:
    """Beside the file of rows, all that reached the model which wrote them."""
    known = Lineage((), teacher.lineage.as_teacher(teacher.sha256)).to_json()
    write_atomic(lineage_file(rows), json.dumps(known, indent=2, ensure_ascii=False) + "\n")


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _row(
    decision: Decision, teacher: Teacher, system: str | None, sampling: Mapping[str, float | int]
) -> dict[str, Any]:
    sample = decision.sample
    problem = sample.problem
    turn: Message = {"role": "assistant", "content": sample.answer}
    if sample.reasoning is not None:
        turn["reasoning_content"] = sample.reasoning
    messages: list[Message] = [{"role": "user", "content": problem.prompt}, turn]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return {
        "messages": messages,
        "id": sample.id,
        "problem": problem.id,
        "family": problem.family,
        "suite": sample.suite,
        "source": problem.origin.source,
        "licence": problem.origin.licence,
        "teacher": teacher.name,
        "teacher_sha256": teacher.sha256,
        "sampling": {**sampling, "number": sample.number},
        "date": sample.date,
        "terms": teacher.terms,
        "outcome": sample.outcome,
        "detail": sample.detail,
        "scores": {name: round(value, 4) for name, value in decision.scores.items()},
    }
