"""How often the audits' readers are wrong, on the labelled replies that come with the package.

The replies were written for this, by whoever wrote the rules, in all the ways that came to mind; about half
were left out while the rules were mended ("held out"). Real replies are messier: take the figures for the
best case.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from shoestring.evals.coherence import fault
from shoestring.evals.identity_reader import claimed
from shoestring.evals.refusal_reader import read_reply
from shoestring.evals.statistics import Interval, wilson

DATA = Path(__file__).parent / "data"
Row = dict[str, Any]
Pairs = tuple[set[str], set[str]]  # what the reader says, what the label says


@dataclass(frozen=True)
class ReaderError:
    """Of one reader and one label, on `part` of the rows: right finds, false ones, missed ones."""

    reader: str
    label: str
    part: str
    n: int
    found: int
    false: int
    missed: int

    @property
    def precision(self) -> tuple[float, Interval] | None:
        return _rate(self.found, self.found + self.false)

    @property
    def recall(self) -> tuple[float, Interval] | None:
        return _rate(self.found, self.found + self.missed)


@dataclass(frozen=True)
class Mistake:
    reader: str
    id: str
    text: str
    said: str
    label: str
    held_out: bool


def _identity(row: Row) -> Pairs:
    return set(claimed(row["reply"], row["probe"])), set(row["claimed"])


def _refusal(row: Row) -> Pairs:
    return {read_reply(row["reply"]).does}, {row["label"]}


def _coherence(row: Row) -> Pairs:
    said = fault(row["question"], row["reply"], row["language"]) or "coherent"
    return {said}, {row["label"]}


READERS: dict[str, tuple[str, Callable[[Row], Pairs]]] = {
    "who made it": ("audit_identity_labelled.jsonl", _identity),
    "what it does": ("audit_refusal_labelled.jsonl", _refusal),
    "coherence": ("audit_coherence_labelled.jsonl", _coherence),
}


def labelled(reader: str) -> list[Row]:
    text = (DATA / READERS[reader][0]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@cache
def errors() -> tuple[ReaderError, ...]:
    """Of who made it: a claim of any family found where that family is claimed, over all and by language. Of
    the others: each label; "incoherent" is any fault for any fault."""
    found = []
    for reader, (_, read) in READERS.items():
        rows = labelled(reader)
        pairs = [read(row) for row in rows]
        for part in ("all", "held out"):
            kept = [
                (row, pair) for row, pair in zip(rows, pairs, strict=True) if part == "all" or row["held_out"]
            ]
            found += _of(reader, part, kept)
    return tuple(found)


def _of(reader: str, part: str, kept: Sequence[tuple[Row, Pairs]]) -> list[ReaderError]:
    if reader == "who made it":
        languages = dict.fromkeys(row["language"] for row, _ in kept)
        groups = {"a maker": kept} | {
            f"a maker, {language}": [one for one in kept if one[0]["language"] == language]
            for language in languages
        }
        return [_count(reader, label, part, [pair for _, pair in own]) for label, own in groups.items()]
    labels = sorted({label for _, (_, right) in kept for label in right})
    counted = [
        _count(reader, label, part, [(said & {label}, right & {label}) for _, (said, right) in kept])
        for label in labels
    ]
    if reader == "coherence":
        wrong = [({"x"} - _is(said), {"x"} - _is(right)) for _, (said, right) in kept]
        counted.append(_count(reader, "incoherent", part, wrong))
    return counted


def _is(labels: set[str]) -> set[str]:
    return {"x"} if "coherent" in labels else set()


def _count(reader: str, label: str, part: str, pairs: Sequence[Pairs]) -> ReaderError:
    found = sum(len(said & right) for said, right in pairs)
    false = sum(len(said - right) for said, right in pairs)
    missed = sum(len(right - said) for said, right in pairs)
    return ReaderError(reader, label, part, len(pairs), found, false, missed)


def mistakes() -> list[Mistake]:
    found = []
    for reader, (_, read) in READERS.items():
        for row in labelled(reader):
            said, right = read(row)
            if said != right:
                words = ["+".join(sorted(x)) or "none" for x in (said, right)]
                found.append(Mistake(reader, row["id"], row["reply"], words[0], words[1], row["held_out"]))
    return found


def readers_error() -> dict[str, Any]:
    """Of the held-out rows, for an audit's record."""
    return {
        f"{one.reader}: {one.label}": {
            "n": one.n,
            "found": one.found,
            "false": one.false,
            "missed": one.missed,
        }
        for one in errors()
        if one.part == "held out" and ", " not in one.label
    }


def _rate(right: int, of: int) -> tuple[float, Interval] | None:
    return (right / of, wilson(right, of)) if of else None
