"""Scorers of the toy problems that a random tiny model can learn, and of ones that it can't."""

from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.text.message import Reply


def letters(problem: Problem, reply: Reply) -> bool:
    """A small letter or more: true of one random reply in four or so."""
    return any("a" <= c <= "z" for c in reply.answer)


def never(problem: Problem, reply: Reply) -> bool:
    return False


def always(problem: Problem, reply: Reply) -> bool:
    return True


def fails(problem: Problem, reply: Reply) -> bool:
    if reply.answer < "a":
        raise RuntimeError("no idea")
    return letters(problem, reply)


def unreadable(problem: Problem, reply: Reply) -> Verdict:
    return Verdict(Outcome.WRONG if letters(problem, reply) else Outcome.UNPARSED, 0.0)
