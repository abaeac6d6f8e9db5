"""math-verify alone, used as its README says: the scorer that our own is measured against."""

import math_verify

from shoestring.tasks.base import Problem
from shoestring.text.message import Reply

LETTERS = ("A", "B", "C", "D", "E", "F", "G", "H")


def score(problem: Problem, reply: Reply) -> bool:
    """parse(gold), parse(reply), verify(gold, reply): the gold in dollars, the reply as it is, letters by its
    reader of strings. Its own timeouts are off: they are signals, and the pool has a wall clock."""
    gold, said = problem.hidden["answer"], reply.answer
    if problem.hidden["kind"] == "choice":
        letters = [math_verify.StringExtractionConfig(strings=LETTERS)]
        wanted = math_verify.parse(gold, letters, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        found = math_verify.parse(said, letters, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
    else:
        wanted = math_verify.parse(f"${gold}$", parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        found = math_verify.parse(said, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
    return math_verify.verify(wanted, found, timeout_seconds=None)
