"""What rejection sampling writes: its rows, what it dropped, and how they were made."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.origin import Lineage, Origin
from shoestring.origin import Stage as LineageStage
from shoestring.remote.asked import Sampling
from shoestring.run import Stage, write_atomic
from shoestring.tasks.accept import Decision, acceptance
from shoestring.text.declared import lineage_file
from shoestring.text.message import Message

ROWS, DROPPED = "rows.jsonl", "dropped.jsonl"
PARQUET = "rows.parquet"  # the rows once more, for tools that read no JSON


@dataclass(frozen=True)
class Making:
    """What all rows of a stage have in common: who wrote them and how, and what the writer's terms say.
    lineage: the writer's own, None where nothing is known of it."""

    teacher: str
    teacher_sha256: str  # of its weights, "" where they are not at hand
    sampling: Sampling
    terms: str
    system: str | None
    lineage: Lineage | None = None
    teacher_licence: str = ""  # "" where nobody says
    teacher_endpoint: str = ""  # "" for a model in this process

    @property
    def known(self) -> Lineage:
        """What lies beside the rows: the writer's stages; and the permission, for nobody believes a row alone
        that it has one."""
        given = Origin("", "", terms=self.terms).permission
        stage = LineageStage(self.teacher, "permission", "", {"permission": given})
        teachers = self.lineage.as_teacher(self.teacher_sha256) if self.lineage else {}
        return Lineage((stage,) if given else (), teachers)


def write(
    folder: Path, decisions: Sequence[Decision], making: Making, never_asked: Sequence[dict[str, Any]] = ()
) -> None:
    """rows.jsonl and rows.parquet, what is kept as conversations, and dropped.jsonl, the rest with reasons:
    samples, after the prompts that were `never_asked`; first what is known of the writer, which goes on to
    whoever is trained on the rows."""
    kept = [_row(d, making) for d in decisions if not d.reason]
    dropped = [{"reason": d.reason, **_row(d, making)} for d in decisions if d.reason]
    if making.known != Lineage():
        text = json.dumps(making.known.to_json(), indent=2, ensure_ascii=False)
        for name in (ROWS, PARQUET):
            write_atomic(lineage_file(folder / name), text + "\n")
    _write_rows(folder / DROPPED, [*never_asked, *dropped])
    _write_parquet(folder / PARQUET, kept)
    _write_rows(folder / ROWS, kept)


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Parquet has no table without fields: an empty one is a null there."""
    if rows:
        filled = [{name: None if value == {} else value for name, value in row.items()} for row in rows]
        table = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(filled), table)
        write_atomic(path, table.getvalue().to_pybytes())


def _row(decision: Decision, making: Making) -> dict[str, Any]:
    sample = decision.sample
    problem = sample.problem
    turn: Message = {"role": "assistant", "content": sample.answer}
    if sample.reasoning is not None:
        turn["reasoning_content"] = sample.reasoning
    messages: list[Message] = [{"role": "user", "content": problem.prompt}, turn]
    if making.system is not None:
        messages.insert(0, {"role": "system", "content": making.system})
    return {
        "messages": messages,
        "id": sample.id,
        "problem": problem.id,
        "family": problem.family,
        "suite": sample.suite,
        "source": problem.origin.source,
        "licence": problem.origin.licence,
        "teacher": making.teacher,
        "teacher_sha256": making.teacher_sha256,
        "teacher_licence": making.teacher_licence,
        "teacher_endpoint": making.teacher_endpoint,
        "sampling": dataclasses.asdict(making.sampling) | {"number": sample.number},
        "date": sample.date,
        "terms": making.terms,
        "outcome": sample.outcome,
        "detail": sample.detail,
        "scores": {name: round(value, 4) for name, value in decision.scores.items()},
    }


def say_acceptance(stage: Stage, decisions: Sequence[Decision]) -> tuple[dict[str, dict[str, int]], int]:
    """By suite what was kept and why the rest was not, as `acceptance` counts it; and how many were kept."""
    table = acceptance(decisions)
    for suite, row in table.items():
        stage.say(f"{suite}: {line(row)}")
    return table, sum(row["kept"] for row in table.values())


def line(row: dict[str, int]) -> str:
    """A suite's acceptance in words."""
    reasons = [f"{name} {count}" for name, count in list(row.items())[4:]]
    share = f"{100 * row['kept'] / row['samples']:.1f} %"
    solved = f"{row['prompts_right']} of {row['prompts']} problems solved at least once"
    return f"kept {row['kept']} of {row['samples']} samples ({share}), {solved}" + (
        f"; dropped: {', '.join(reasons)}" if reasons else ""
    )
