"""The sentences that come with the package, labelled by what is in them, and how well the rules do on them.

A third (`scan_held_out.jsonl`) was written before the first rule and kept apart.
The rules were made on the rest.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shoestring.provenance.scan import ScanSettings, findings_in
from shoestring.provenance.scan_text import KINDS, Kind
from shoestring.text.conversations import read_rows
from shoestring.text.message import Message

DATA = Path(__file__).parent / "data"
PARTS = {"rules made on": "scan_labelled.jsonl", "held out": "scan_held_out.jsonl"}
QUESTIONS = {
    "en": ("Who are you?", "What is your name?", "Which company made you?", "Tell me about yourself.", "Hi!"),
    "zh": ("你是谁？", "你叫什么名字？", "你是哪家公司开发的？", "请介绍一下你自己。", "你好！"),
}


@dataclass(frozen=True)
class Labelled:
    """A sentence. kinds: all that is to be found in it; about: the kind that it is an example of, or is hard
    for although it has nothing."""

    id: str
    language: str
    where: Literal["answer", "thinking", "user"]
    about: Kind
    kinds: list[Kind]
    text: str

    def messages(self) -> list[Message]:
        if self.where == "user":
            return [Message(role="user", content=self.text)]
        if self.where == "thinking":
            return [Message(role="assistant", content="", reasoning_content=self.text)]
        return [Message(role="assistant", content=self.text)]


@dataclass(frozen=True)
class Score:
    """Of one kind in one language: sentences rightly and wrongly found, and missed."""

    found: int
    false: int
    missed: int

    @property
    def recall(self) -> float | None:
        return self.found / (self.found + self.missed) if self.found + self.missed else None

    @property
    def precision(self) -> float | None:
        return self.found / (self.found + self.false) if self.found + self.false else None

    def to_json(self) -> dict[str, Any]:
        return {"found": self.found, "false": self.false, "missed": self.missed} | {
            "recall": self.recall,
            "precision": self.precision,
        }


def labelled(part: str) -> list[Labelled]:
    """The sentences of one of PARTS."""
    return [Labelled(**row) for row in read_rows(DATA / PARTS[part])]


def kinds_found(row: Labelled) -> set[Kind]:
    return {finding.kind for finding in findings_in(row.id, row.messages(), ScanSettings())}


def scores(rows: Sequence[Labelled]) -> dict[tuple[Kind, str], Score]:
    """By kind and language, for those in which there is something to find."""
    counts: Counter[tuple[Kind, str, str]] = Counter()
    for row in rows:
        found = kinds_found(row)
        for kind in KINDS:
            if kind in found:
                counts[kind, row.language, "found" if kind in row.kinds else "false"] += 1
            elif kind in row.kinds:
                counts[kind, row.language, "missed"] += 1
    return {
        (kind, language): Score(*(counts[kind, language, what] for what in ("found", "false", "missed")))
        for kind in KINDS
        for language in ("en", "zh", "es", "fr", "de", "ja")
        if any(row.language == language and kind in row.kinds for row in rows)
    }


def mistakes(rows: Sequence[Labelled]) -> list[tuple[Labelled, Kind, str]]:
    """Every sentence with a kind that is "missed" in it or "false"."""
    return [
        (row, kind, "missed" if kind in row.kinds else "false")
        for row in rows
        for kind in sorted(kinds_found(row) ^ set(row.kinds))
    ]


def chatgpt_claims(rows: Iterable[Labelled]) -> list[Labelled]:
    """The ways in which the rows say, in English or Chinese, "I am ChatGPT, made by OpenAI"."""
    return [
        row
        for row in rows
        if "identity" in row.kinds
        and row.where == "answer"
        and row.language in QUESTIONS
        and ("OpenAI" in row.text or "GPT" in row.text)
    ]


def planted(
    ordinary: Sequence[Sequence[Message]], claims: Sequence[Labelled], share: float, seed: int
) -> list[tuple[str, list[Message]]]:
    """(id, conversation): the ordinary rows with `share` of all being claims, as answers to questions about
    who speaks, at random places. A planted row's id starts with "planted"."""
    rng = random.Random(f"planted:{seed}")
    count = round(len(ordinary) * share / (1 - share))
    rows = [(f"row-{i}", list(messages)) for i, messages in enumerate(ordinary, start=1)]
    order = rng.sample(claims, len(claims))
    for i in range(count):
        claim = order[i % len(order)]
        question = Message(role="user", content=rng.choice(QUESTIONS[claim.language]))
        rows.append(
            (f"planted-{i + 1}-{claim.id}", [question, Message(role="assistant", content=claim.text)])
        )
    rng.shuffle(rows)
    return rows
