"""What rejection sampling writes: its rows, what it dropped, and who wrote them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.rl.accept import Decision
from shoestring.run import write_atomic
from shoestring.text.message import Message

ROWS, DROPPED = "rows.jsonl", "dropped.jsonl"


def teacher_of(lm: LanguageModel) -> str:
    """The model's life in names, and its weights' hash: who wrote the rows."""
    digest = hashlib.sha256()
    for name, tensor in lm.network.public_tensors():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    names = [stage.name for stage in lm.lineage.stages]
    return f"{' > '.join(names) or lm.name} (sha256 {digest.hexdigest()[:16]})"


def write(folder: Path, decisions: Sequence[Decision], teacher: str, system: str | None) -> None:
    """rows.jsonl, what is kept as conversations, and dropped.jsonl, the rest with the reason."""
    kept = [_row(d, teacher, system) for d in decisions if not d.reason]
    dropped = [{"reason": d.reason, **_row(d, teacher, system)} for d in decisions if d.reason]
    _write_rows(folder / DROPPED, dropped)
    _write_rows(folder / ROWS, kept)


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _row(decision: Decision, teacher: str, system: str | None) -> dict[str, Any]:
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
        "teacher": teacher,
        "outcome": sample.outcome,
        "detail": sample.detail,
        "scores": {name: round(value, 4) for name, value in decision.scores.items()},
    }
