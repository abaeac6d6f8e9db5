"""Which samples become rows to learn from, as in R1's third stage: right, whole, readable, in the question's
language, not going round in circles, and of each problem only so many that differ."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from shoestring.settings import Settings
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.language import detect
from shoestring.tasks.shape import grams, language_consistency, repetition_score

IN_EVALUATION, REPEATS_ANOTHER = "in an evaluation", "repeats another problem's"
NOT_JUDGED = (Outcome.TIMEOUT.value, Outcome.ERROR.value)
OPEN = "open"  # the outcome of a question without one right answer: there is nothing to be right about
CODE = re.compile(r"```|^(?: {4}|\t)\S.*\n(?: {4}|\t)\S", re.MULTILINE)
GARBAGE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd\u200b-\u200f\u202a-\u202e\ue000-\uf8ff]")
# in the order in which a sample is looked at: the first that applies is why it was dropped
REASONS = (
    "not judged",
    "cut",
    "wrong",
    "no answer found",
    "empty",
    "no thinking",
    "code block",
    "long paragraph",
    "garbage characters",
    "other language",
    "repetition",
    "duplicate",
    "enough of this problem",
    # what `jobs/distill_outputs.py` finds, comparing with other problems
    IN_EVALUATION,
    REPEATS_ANOTHER,
)


class Filters(Settings):
    """What a sample must be to be kept. Each can be switched off; `dropped` says which of them it failed."""

    right: bool = True  # an open question's reply has nothing to be right about
    uncut: bool = True
    thinking: bool = True  # there must be some
    readable: bool = True  # no code blocks, no long paragraph in the thinking, no garbage characters
    max_paragraph: int = Field(default=1500, ge=1)  # characters
    min_language: float = Field(default=0.8, ge=0, le=1)  # share of the words in the question's language
    max_repetition: float = Field(
        default=0.5, ge=0, le=1
    )  # share of runs of 4 tokens seen before; a loop is 1
    max_overlap: float = Field(default=0.8, ge=0, le=1)  # of two samples' runs of words, for both to be kept
    keep_per_problem: int = Field(default=1, ge=1)
    prefer: Literal["shortest", "longest", "readable", "first"] = "shortest"  # which of a problem's are kept


@dataclass(frozen=True)
class Sample:
    """One judged reply. index is the prompt's place in the stream."""

    index: int
    number: int
    suite: str
    problem: Problem
    reasoning: str | None
    answer: str
    cut: bool
    tokens: int
    outcome: str
    detail: str
    date: str = ""  # when it was sampled and judged, ISO 8601, UTC

    @property
    def text(self) -> str:
        return f"{self.reasoning or ''}\n{self.answer}"

    @property
    def id(self) -> str:
        return f"{self.problem.id}/{self.index}/{self.number}"


@dataclass(frozen=True)
class Decision:
    """reason "" is kept. scores say what was measured."""

    sample: Sample
    reason: str
    scores: dict[str, float]


def decide(samples: Iterable[Sample], filters: Filters) -> list[Decision]:
    """One decision a sample, in the samples' order, which come prompt by prompt. A problem that is asked
    twice counts as one: what was kept of it first stays."""
    kept: dict[str, list[Sample]] = {}
    decisions: list[Decision] = []
    group: list[Sample] = []
    for sample in samples:
        if group and sample.index != group[0].index:
            decisions += _decide_group(group, kept, filters)
            group = []
        group.append(sample)
    return decisions + (_decide_group(group, kept, filters) if group else [])


def _decide_group(group: Sequence[Sample], kept: dict[str, list[Sample]], filters: Filters) -> list[Decision]:
    """The samples of one prompt: each alone first, then the fit ones in the order of preference."""
    asked_in = detect(group[0].problem.prompt)
    scores = {s.number: measure(s, asked_in) for s in group}
    reasons = {s.number: fault(s, scores[s.number], filters) for s in group}
    own = kept.setdefault(group[0].problem.id, [])
    fit = [s for s in group if not reasons[s.number]]
    for sample in sorted(fit, key=lambda s: _rank(s, scores[s.number], filters.prefer)):
        if any(overlap(sample.text, other.text) > filters.max_overlap for other in own):
            reasons[sample.number] = "duplicate"
        elif len(own) >= filters.keep_per_problem:
            reasons[sample.number] = "enough of this problem"
        else:
            own.append(sample)
    return [Decision(s, reasons[s.number], scores[s.number]) for s in group]


def measure(sample: Sample, asked_in: str) -> dict[str, float]:
    """`asked_in`: the problem's language."""
    return {
        "tokens": float(sample.tokens),
        "language": language_consistency(sample.text, asked_in),
        "repetition": 1 - repetition_score(sample.text),
    }


def fault(sample: Sample, scores: dict[str, float], filters: Filters) -> str:
    """The first of REASONS that speaks against the sample alone; "" where none does."""
    thinking = sample.reasoning or ""
    paragraphs = re.split(r"\n\s*\n", thinking)
    wrong = filters.right and sample.outcome not in (Outcome.RIGHT.value, OPEN)
    against = {
        "not judged": sample.outcome in NOT_JUDGED,
        "cut": filters.uncut and sample.cut,
        "wrong": wrong and sample.outcome == Outcome.WRONG.value,
        "no answer found": wrong and sample.outcome != Outcome.WRONG.value,
        "empty": not sample.answer.strip(),
        "no thinking": filters.thinking and not thinking.strip(),
        "code block": filters.readable and bool(CODE.search(thinking)),
        "long paragraph": filters.readable and max(map(len, paragraphs)) > filters.max_paragraph,
        "garbage characters": filters.readable and bool(GARBAGE.search(sample.text)),
        "other language": scores["language"] < filters.min_language,
        "repetition": scores["repetition"] > filters.max_repetition,
    }
    return next((reason for reason, applies in against.items() if applies), "")


def overlap(one: str, other: str) -> float:
    """Jaccard's index of their runs of four tokens; 1 where they differ in spaces and case alone."""
    if " ".join(one.lower().split()) == " ".join(other.lower().split()):
        return 1.0
    a, b = set(grams(one.lower())), set(grams(other.lower()))
    return len(a & b) / len(a | b) if a or b else 0.0


def _rank(sample: Sample, scores: dict[str, float], prefer: str) -> tuple[float, ...]:
    """Lower is kept first; ties go to the one sampled first."""
    if prefer == "shortest":
        return (scores["tokens"], sample.number)
    if prefer == "longest":
        return (-scores["tokens"], sample.number)
    if prefer == "readable":
        return (scores["repetition"], -scores["language"], scores["tokens"], sample.number)
    return (sample.number,)


def acceptance(decisions: Sequence[Decision]) -> dict[str, dict[str, int]]:
    """By suite: samples, kept, prompts, prompts with one that is right, and how many each reason dropped."""
    table: dict[str, Counter[str]] = {}
    seen: set[tuple[str, int, str]] = set()
    for decision in decisions:
        sample = decision.sample
        row = table.setdefault(sample.suite, Counter(prompts=0, prompts_right=0, samples=0, kept=0))
        row["samples"] += 1
        row[decision.reason or "kept"] += 1
        for kind, counts in (("prompts", True), ("prompts_right", sample.outcome == Outcome.RIGHT.value)):
            if counts and (kind, sample.index, sample.suite) not in seen:
                seen.add((kind, sample.index, sample.suite))
                row[kind] += 1
    order = ("prompts", "prompts_right", "samples", "kept", *REASONS)
    return {suite: {name: row[name] for name in order if name in row} for suite, row in table.items()}
