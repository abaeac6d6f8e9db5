"""The rollouts that a run has kept, read as values: which units have some, of which steps, and a step's
samples."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome
from shoestring.text.stream import CLOSE, OPEN

VERDICTS = (*(outcome.value for outcome in Outcome), "cut")


@dataclass(frozen=True)
class Kept:
    """One sample as it was written. Files of older runs have fewer columns; what they lack is None or
    empty."""

    step: int
    group: str  # samples of one problem in one step; of an older file the prompt
    problem: str
    suite: str
    prompt: str
    completion: str
    outcome: str
    value: float
    reasoning: str | None = None
    answer: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    reward: float | None = None
    advantage: float | None = None
    detail: str = ""
    cut: bool = False
    finish_reason: str = ""
    tokens: int | None = None
    live: bool | None = None
    version: int | None = None

    def is_(self, verdict: str) -> bool:
        """Of VERDICTS: an outcome, or "cut", which may come with any."""
        return self.cut if verdict == "cut" else self.outcome == verdict

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """The completion in parts of a kind, whose texts together are the completion: "think", "answer", and
        "" for the marks between and around them. Without thinking all but the end mark is answer."""
        text, thinking = self.completion, self.reasoning or ""
        opened = len(text) - len(text.lstrip()) + len(OPEN) if text.lstrip().startswith(OPEN) else 0
        spans: list[tuple[str, int, int]] = []
        start = opened
        if thinking and (found := text.find(thinking, opened)) >= 0:
            start = found + len(thinking)
            spans.append(("think", found, start))
        if (thinking or opened) and (closed := text.find(CLOSE, start)) >= 0:
            start = closed + len(CLOSE)
        if self.answer and (found := text.find(self.answer, start)) >= 0:
            spans.append(("answer", found, found + len(self.answer)))
        return _cut_at(text, spans)


COLUMNS = tuple(name for name in Kept.__dataclass_fields__ if name != "step")


@dataclass(frozen=True)
class RolloutFolder:
    """One unit's kept steps, each a file."""

    title: str  # stage, arm and seed
    stage: str
    arm: str
    judged: bool  # pretraining's continuations are not
    path: Path
    steps: tuple[int, ...]  # ascending

    def file(self, step: int) -> Path:
        return self.path / f"step-{step:06d}.parquet"

    @property
    def num_bytes(self) -> int:
        return sum(self.file(step).stat().st_size for step in self.steps)

    @property
    def num_samples(self) -> int:
        return sum(pq.read_metadata(self.file(step)).num_rows for step in self.steps)

    def read(self, step: int) -> list[Kept]:
        """A step's samples in the order of the file, without ids and logprobs. Raises BadInput on a file that
        isn't Parquet."""
        try:
            known = pq.read_schema(self.file(step)).names
            table = pq.read_table(self.file(step), columns=[name for name in COLUMNS if name in known])
        except (OSError, ValueError) as error:
            raise BadInput(f"{self.file(step)} can't be read: {error}") from None
        return [_kept(row, step) for row in table.to_pylist(maps_as_pydicts="strict")]


def kept_steps(folder: Path) -> tuple[int, ...]:
    return tuple(sorted(int(p.stem.removeprefix("step-")) for p in folder.glob("step-*.parquet")))


def by_group(rows: Sequence[Kept]) -> dict[tuple[int, str], list[Kept]]:
    """A step's samples of one problem together, in the order in which they come."""
    groups: dict[tuple[int, str], list[Kept]] = {}
    for row in rows:
        groups.setdefault((row.step, row.group), []).append(row)
    return groups


def _kept(row: dict[str, Any], step: int) -> Kept:
    values: dict[str, Any] = {name: value for name, value in row.items() if value is not None}
    prompt = values["prompt"]
    values = {"group": prompt, "problem": "", "suite": "", "value": 0.0} | values | {"step": step}
    return Kept(**values)


def _cut_at(text: str, spans: Sequence[tuple[str, int, int]]) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    done = 0
    for kind, start, end in spans:
        pieces += [("", text[done:start]), (kind, text[start:end])]
        done = end
    return [(kind, part) for kind, part in [*pieces, ("", text[done:])] if part]


def visible(text: str) -> str:
    """Control signs but line ends and tabs as pictures: a model must not steer the terminal."""
    text = text.replace("\x7f", "\u2421")
    return re.sub(r"[\x00-\x08\x0b-\x1f]", lambda sign: chr(0x2400 + ord(sign[0])), text).translate(C1)


C1 = dict.fromkeys(range(0x80, 0xA0), "\ufffd")
