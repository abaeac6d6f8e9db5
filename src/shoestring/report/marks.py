"""What the replies of an evaluation were marked, problem by problem: each alone, and by majority vote."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from shoestring.evals.statistics import maj_at_k

RIGHT = "right"
NOT = ", not "  # "12, not 13": what a scorer says of the one answer that it found and that isn't right
SEVERAL = "several answers"


@dataclass(frozen=True)
class Marks:
    """shares[problem] of its samples that are right; majority[problem] as in `Score`."""

    shares: Mapping[str, float]
    majority: Mapping[str, float]


@dataclass(frozen=True)
class _Vote:
    """answer is None where no one answer was read; told: whether that is known at all."""

    right: bool
    answer: str | None
    told: bool


def read_marks(path: Path) -> Mapping[tuple[str, str, str], Marks]:
    """(model, suite, variant) -> its marks, from the file of all replies."""
    if not path.exists():
        return {}
    replies: dict[tuple[str, str, str], dict[str, list[_Vote]]] = defaultdict(lambda: defaultdict(list))
    wanted = ["model", "suite", "variant", "problem", "outcome", "detail", "said"]
    there = set(pq.read_schema(path).names)
    for row in pq.read_table(path, columns=[name for name in wanted if name in there]).to_pylist():
        if row["outcome"] != "open":  # no right answer: counted nowhere
            key = (row["model"], row["suite"], row["variant"])
            vote = _vote(row) if "said" in there else _vote_by_detail(row["outcome"], row.get("detail", ""))
            replies[key][row["problem"]].append(vote)
    return {key: _marks(problems) for key, problems in replies.items()}


def _marks(problems: Mapping[str, Sequence[_Vote]]) -> Marks:
    shares = {problem: sum(v.right for v in votes) / len(votes) for problem, votes in problems.items()}
    several = all(len(votes) > 1 for votes in problems.values())
    if not several or not all(vote.told for votes in problems.values() for vote in votes):
        return Marks(shares, {})
    by_vote = {
        problem: maj_at_k([v.answer for v in votes], [v.right for v in votes], len(votes))
        for problem, votes in problems.items()
    }
    return Marks(shares, by_vote)


def _vote(row: Mapping[str, str]) -> _Vote:
    """A right reply without an answer is of a task that knows no votes: code, instructions."""
    right = row["outcome"] == RIGHT
    return _Vote(right, row["said"] or None, bool(row["said"]) or not right)


def _vote_by_detail(outcome: str, detail: str) -> _Vote:
    """Of replies that were kept before their answers were: what the scorer said of them."""
    if outcome == RIGHT:
        return _Vote(True, RIGHT, True)
    answer, stated, _ = detail.partition(NOT)
    if outcome == "wrong" and stated and not detail.startswith(SEVERAL):
        return _Vote(False, f"{answer}, wrong", True)  # spelled as no right answer is here
    return _Vote(False, None, outcome != "wrong" or detail.startswith(SEVERAL))
