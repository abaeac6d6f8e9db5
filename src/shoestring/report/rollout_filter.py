"""Which of the kept rollouts are wanted, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.errors import BadInput
from shoestring.report.rollouts import VERDICTS, Kept
from shoestring.settings import nearest

SORTS = ("reward", "length", "advantage")


@dataclass(frozen=True)
class Wanted:
    """Empty and None ask for nothing."""

    problem: str = ""  # its id, the group's name, or the beginning of either; else text of its prompt
    prompt: str = ""  # text of its prompt, whatever the case
    verdict: str = ""
    live: bool | None = None
    sort: str = ""  # largest first; samples that have no such number come last

    def __post_init__(self) -> None:
        if self.verdict and self.verdict not in VERDICTS:
            raise BadInput(f"verdict '{self.verdict}'{nearest(self.verdict, list(VERDICTS))}")
        if self.sort and self.sort not in SORTS:
            raise BadInput(f"sort '{self.sort}'{nearest(self.sort, list(SORTS))}")


def choose(rows: Sequence[Kept], wanted: Wanted) -> list[Kept]:
    found = [row for row in rows if _fits(row, wanted)]
    if wanted.problem:
        named = [
            r for r in found if r.problem.startswith(wanted.problem) or r.group.startswith(wanted.problem)
        ]
        found = named or [row for row in found if _holds(row.prompt, wanted.problem)]
    if wanted.sort:
        found.sort(key=lambda row: _descending(_number(row, wanted.sort)))
    return found


def parse_steps(text: str, kept: Sequence[int], where: str) -> list[int]:
    """ "7", "1:20", "5:" and ":5" (ends included) to those of the kept steps; "" is the last. Raises BadInput
    where none is kept."""
    if not text:
        return [kept[-1]]
    low, colon, high = text.partition(":")
    try:
        first = int(low) if low else kept[0]
        last = (int(high) if high else kept[-1]) if colon else first
    except ValueError:
        raise BadInput(f"step '{text}': write a step as 7, or several as 1:20") from None
    chosen = [step for step in kept if first <= step <= last]
    if not chosen:
        raise BadInput(f"step {text} of {where} isn't kept; kept are {steps_text(kept)}")
    return chosen


def steps_text(steps: Sequence[int]) -> str:
    """1 to 40, where all are there; else the numbers, the middle left out where they are many."""
    if len(steps) > 2 and list(steps) == list(range(steps[0], steps[-1] + 1)):
        return f"{steps[0]} to {steps[-1]}"
    if len(steps) > 12:
        return f"{', '.join(map(str, steps[:6]))}, ... {', '.join(map(str, steps[-3:]))}"
    return ", ".join(map(str, steps))


def _fits(row: Kept, wanted: Wanted) -> bool:
    return (
        (not wanted.verdict or row.is_(wanted.verdict))
        and (wanted.live is None or row.live is wanted.live)
        and _holds(row.prompt, wanted.prompt)
    )


def _holds(text: str, part: str) -> bool:
    return part.casefold() in text.casefold()


def _number(row: Kept, sort: str) -> float | None:
    return {"reward": row.reward, "length": row.tokens, "advantage": row.advantage}[sort]


def _descending(number: float | None) -> tuple[bool, float]:
    return (number is None, -(number or 0.0))
