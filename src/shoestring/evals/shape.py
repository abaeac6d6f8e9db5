"""What a score leaves out of how a model replies: its form, its language, its length, and how sure its scorer
is."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shoestring.tasks.base import Outcome
from shoestring.tasks.language import WINDOW, share_in, words
from shoestring.tasks.shape import format_score
from shoestring.text.message import Reply

MIXED = 0.9  # a reply with a smaller share of its words in the problem's language mixes languages

SAME, ALWAYS_SAME = 0.5, 0.25  # below these shares nothing is said of answers that are the same,
SAME_OF = 20  # nor of fewer replies


@dataclass(frozen=True)
class ReplyShape:
    """Of one reply. The languages are shares of words in the problem's language, None where there are too
    few to tell: of an answer one word may be a name, or what was asked for."""

    format: float
    language_thinking: float | None
    language_answer: float | None


class Shaped(Protocol):
    """What an eval keeps of each reply."""

    @property
    def outcome(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def format(self) -> float: ...
    @property
    def language_thinking(self) -> float | None: ...
    @property
    def language_answer(self) -> float | None: ...
    @property
    def disagreed(self) -> bool: ...
    @property
    def said(self) -> str: ...
    @property
    def gold(self) -> str: ...


@dataclass(frozen=True)
class Shape:
    """Of all replies to a suite: rates are shares of them; mixed is of those with words enough to tell a
    language. None where there is nothing to take it from. disagreed counts replies over which the scorer's
    two readers differed. same: the share that gives one and the same answer, where that is most of them;
    always_same: the share that giving the commonest right answer to every problem would get, where that is
    much: a model that has learnt nothing else than to say "1" may look like one that counts."""

    format: float
    mixed: float | None
    tokens: float
    tokens_right: float | None
    tokens_wrong: float | None
    cut: float
    unparsed: float
    disagreed: int
    same: float | None = None
    always_same: float | None = None

    def line(self) -> str:
        parts = [f"{100 * self.format:.1f} % in the thinking format"]
        if self.mixed is not None:
            parts.append(f"{100 * self.mixed:.1f} % mix languages")
        lengths = ((self.tokens_right, "right"), (self.tokens_wrong, "not"))
        told = [f"{value:.0f} when {word}" for value, word in lengths if value is not None]
        parts += [f"tokens {', '.join(told)}", f"{100 * self.cut:.1f} % cut"]
        if self.disagreed:
            parts.append(f"{self.disagreed} over which the scorer's two readers differed")
        if self.same is not None:
            parts.append(f"{100 * self.same:.1f} % give the same answer")
        if self.always_same is not None:
            parts.append(f"always giving the commonest answer would get {100 * self.always_same:.1f} %")
        return "replies: " + ", ".join(parts)


def reply_shape(text: str, opened: bool, reply: Reply, asked_in: str) -> ReplyShape:
    """`text` is the completion with its tags, `opened` whether the prompt had opened the thinking, `asked_in`
    the problem's language ("": it has none, and nothing is told of the reply's)."""

    def share(said: str | None) -> float | None:
        if not said or not asked_in or sum(word.count for word in words(said)) < WINDOW:
            return None
        return share_in(said, asked_in)

    score = format_score(text, opened, reply.cut)
    return ReplyShape(score, share(reply.reasoning), share(reply.answer))


def mixes(item: Shaped) -> bool | None:
    """None where no language can be told."""
    shares = [share for share in (item.language_thinking, item.language_answer) if share is not None]
    return min(shares) < MIXED if shares else None


def summarise_shape(items: Sequence[Shaped]) -> Shape:
    n = len(items)
    mixed = [mark for mark in map(mixes, items) if mark is not None]
    right = [item.tokens for item in items if item.outcome == Outcome.RIGHT]
    wrong = [item.tokens for item in items if item.outcome != Outcome.RIGHT]
    return Shape(
        format=sum(item.format == 1 for item in items) / n,
        mixed=sum(mixed) / len(mixed) if mixed else None,
        tokens=sum(item.tokens for item in items) / n,
        tokens_right=sum(right) / len(right) if right else None,
        tokens_wrong=sum(wrong) / len(wrong) if wrong else None,
        cut=sum(item.finish_reason != "stop" for item in items) / n,
        unparsed=sum(item.outcome == Outcome.UNPARSED for item in items) / n,
        disagreed=sum(item.disagreed for item in items),
        same=_above(SAME, _commonest(item.said for item in items)),
        always_same=_above(ALWAYS_SAME, _commonest(item.gold for item in items)),
    )


def _commonest(texts: Iterable[str]) -> float | None:
    """The share of the text that most are; what says nothing is none. None of too few."""
    counts = Counter(" ".join(text.lower().split()) for text in texts)
    if counts.total() < SAME_OF:
        return None
    return max((count for text, count in counts.items() if text), default=0) / counts.total()


def _above(least: float, share: float | None) -> float | None:
    return share if share is not None and share >= least else None
