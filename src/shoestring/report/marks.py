"""What the replies of an evaluation were marked, problem by problem: each alone, and by majority vote."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from shoestring.evals.statistics import maj_at_k

RIGHT, UNPARSED = "right", "unparsed"
NOT = ", not "  # "12, not 13": what a scorer says of the one answer that it found and that isn't right
SEVERAL = "several answers"


@dataclass(frozen=True)
class Marks:
    """shares[problem] of its samples that are right; majority[problem] as in `Score`."""

    shares: Mapping[str, float]
    majority: Mapping[str, float]


def read_marks(path: Path) -> Mapping[tuple[str, str, str], Marks]:
    """(model, suite, variant) -> its marks, from the file of all replies."""
    if not path.exists():
        return {}
    replies: dict[tuple[str, str, str], dict[str, list[tuple[str, str]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    columns = ["model", "suite", "variant", "problem", "outcome", "detail"]
    there = set(pq.read_schema(path).names)  # an older file has no detail, and so no votes
    for row in pq.read_table(path, columns=[name for name in columns if name in there]).to_pylist():
        if row["outcome"] != "open":  # no right answer: counted nowhere
            key = (row["model"], row["suite"], row["variant"])
            replies[key][row["problem"]].append((row["outcome"], row.get("detail", "")))
    return {key: _marks(problems) for key, problems in replies.items()}


def _marks(problems: Mapping[str, Sequence[tuple[str, str]]]) -> Marks:
    shares = {
        problem: sum(outcome == RIGHT for outcome, _ in samples) / len(samples)
        for problem, samples in problems.items()
    }
    several = all(len(samples) > 1 for samples in problems.values())
    told = all(_told(outcome, detail) for samples in problems.values() for outcome, detail in samples)
    return Marks(
        shares, {p: _by_vote(samples) for p, samples in problems.items()} if several and told else {}
    )


def _told(outcome: str, detail: str) -> bool:
    """Whether it is known what a reply answered, or that it gave no one answer."""
    return outcome != "wrong" or NOT in detail or detail.startswith(SEVERAL)


def _by_vote(samples: Sequence[tuple[str, str]]) -> float:
    """What is right is one answer; a reply without one answer has no vote."""
    answers = [RIGHT if outcome == RIGHT else _wrong_answer(detail) for outcome, detail in samples]
    return maj_at_k(answers, [outcome == RIGHT for outcome, _ in samples], len(samples))


def _wrong_answer(detail: str) -> tuple[str] | None:
    """In a tuple of its own, so that no wrong answer is spelled as the right one is here."""
    answer, stated, _ = detail.partition(NOT)
    return (answer,) if stated and not detail.startswith(SEVERAL) else None
