"""Whether what a model is tested on stands in what it was trained on: runs of words that both have.

A problem is met where a text has a run of 13 words of it (punctuation counts as words) that isn't mere
wording, shared by more problems of the suite but for numbers and letters; a problem of fewer words where a
text has all of it in one piece. That finds quotations, not paraphrases and not translations.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from shoestring.errors import BadInput
from shoestring.evals.statistics import Estimate, Interval, wilson_clustered
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.benchmarks import BENCHMARKS
from shoestring.tasks.file_rows import read_rows
from shoestring.tasks.overlap import TestedTexts

WORDS = 13
ROWS = (".jsonl", ".parquet")
TEXTS = (".txt", ".md")
IN_ROW = ("text", "prompt", "question", "problem", "content", "completion", "answer", "solution", "reasoning")


class Marked(Protocol):
    @property
    def problem(self) -> str: ...
    @property
    def outcome(self) -> str: ...


@dataclass(frozen=True)
class Overlap:
    """met: problem -> where it was first met and the words. with_all and without: the score of all problems
    and of those that weren't met, None where all were."""

    against: tuple[str, ...]
    texts: int
    words: int
    met: Mapping[str, str]
    share: float
    with_all: Estimate
    without: Estimate | None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "against": list(self.against), "met": dict(self.met)}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Overlap":
        """From its `to_json`."""
        without = raw["without"] and _estimate(raw["without"])
        told = {"against": tuple(raw["against"]), "with_all": _estimate(raw["with_all"]), "without": without}
        return cls(**{**raw, **told})

    def line(self) -> str:
        if not self.met:
            return f"overlap: no problem was met in {self.texts:,} texts of training, by {self.words} words"
        rest = "all were" if self.without is None else f"without them {self.without}"
        return (
            f"overlap: {len(self.met)} problems ({100 * self.share:.1f} %) were met in {self.texts:,} texts "
            f"of training; with them {self.with_all}, {rest}"
        )


def _estimate(raw: Mapping[str, Any]) -> Estimate:
    return Estimate(raw["value"], Interval(**raw["ci95"]))


@dataclass(frozen=True)
class Met:
    """Of a suite's problems, which were met in how many texts; before any score is known."""

    against: tuple[str, ...]
    texts: int
    met: Mapping[str, str]


def find_overlap(problems: Sequence[Problem], against: Sequence[str], words: int = WORDS) -> Met:
    """Looks through every text of the named files and folders. Raises BadInput where there is none."""
    tested = TestedTexts(words)
    tested.add("", map(asked_of, problems))
    by_name = {f" #{i}": problem.id for i, problem in enumerate(problems, start=1)}
    met: dict[str, str] = {}
    count = 0
    for name in against:
        before = count
        for where, text in training_texts(Path(name)):
            count += 1
            for found, run in tested.all_in(text).items():
                met.setdefault(by_name[found], f"{where}: {run}")
        if count == before:
            raise BadInput(f"{name} holds no text to look for the evaluation's problems in")
    return Met(tuple(against), count, met)


def asked_of(problem: Problem) -> str:
    """The question alone: the instruction that a benchmark's prompts end with is in no training text."""
    return problem.key if problem.family in BENCHMARKS else problem.prompt


def with_scores(found: Met, items: Sequence[Marked], k: int, words: int = WORDS) -> Overlap:
    scored = [item for item in items if item.outcome != Outcome.OPEN]
    clean = [item for item in scored if item.problem not in found.met]
    asked = {item.problem for item in scored}
    met = {problem: where for problem, where in found.met.items() if problem in asked}
    return Overlap(
        found.against,
        found.texts,
        words,
        met,
        len(met) / len(asked),
        _score(scored, k),
        _score(clean, k) if clean else None,
    )


def _score(items: Sequence[Marked], k: int) -> Estimate:
    right = [sum(i.outcome == Outcome.RIGHT for i in items[at : at + k]) for at in range(0, len(items), k)]
    return Estimate(sum(right) / len(items), wilson_clustered(right, k))


def training_texts(path: Path) -> Iterator[tuple[str, str]]:
    """(file and row, text) of a file, or of all files of rows or text in a folder. Raises BadInput."""
    if not path.exists():
        raise BadInput(f"no such file or folder of training texts: {path}")
    if path.is_dir():
        for file in sorted(f for f in path.rglob("*") if f.suffix in (*ROWS, *TEXTS) and f.is_file()):
            yield from training_texts(file)
    elif path.suffix in ROWS:
        for number, row in read_rows(path):
            if isinstance(row, dict) and (text := row_text(row)):
                yield f"{path.name} row {number}", text
    elif path.suffix in TEXTS:
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.strip():
            yield path.name, text
    else:
        raise BadInput(f"{path}: training texts are {', '.join((*ROWS, *TEXTS))} or a folder of them")


def row_text(row: Mapping[str, Any]) -> str:
    """All that the row says, a turn or a field a line."""
    turns = row.get("messages") or row.get("conversations") or []
    said = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    return "\n".join(
        part for part in (*said, *map(row.get, IN_ROW)) if isinstance(part, str) and part.strip()
    )


def against_hash(against: Sequence[str]) -> str:
    """Of the files' names, sizes and times: other training texts are another result."""
    digest = hashlib.sha256()
    for name in against:
        path = Path(name)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                digest.update(f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
