"""Groups of rollouts made by hand."""

from collections.abc import Sequence

from shoestring.origin import Origin
from shoestring.rl.rollout import Group, Rollout
from shoestring.rl.rollout import Sequence as Sampled
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.text.message import Reply

PROMPT = [10, 11, 12]


def problem(name: str = "p") -> Problem:
    return Problem("sums", "", name, f"What is {name}?", {}, Origin("procedural:sums", "CC0-1.0"))


def rollout(
    reward: float | None,
    length: int = 2,
    cut: bool = False,
    outcome: Outcome | None = None,
    name: str = "p",
    number: int = 0,
) -> Rollout:
    """Token ids 20, 21, ...; each was sampled with logprob -1."""
    outcome = outcome or (Outcome.RIGHT if reward else Outcome.WRONG)
    sequence = Sampled(PROMPT, list(range(20, 20 + length)), [-1.0] * length, 0, f"{name}/{number}")
    reply = Reply(None, "" if cut else "1", cut)
    return Rollout(problem(name), sequence, reply, Verdict(outcome, reward or 0.0), reward)


def group(rewards: Sequence[float | None], lengths: Sequence[int] | None = None, name: str = "p") -> Group:
    lengths = lengths or [2] * len(rewards)
    pairs = enumerate(zip(rewards, lengths, strict=True))
    return Group(problem(name), "sums", [rollout(r, n, name=name, number=i) for i, (r, n) in pairs])
