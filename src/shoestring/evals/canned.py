"""Text that isn't made for its question: known slogans, and what a model says to several questions alike.

Runs of four tokens (characters in Chinese). The list of slogans is small and from several countries; that a
reply has one is no verdict on it. A model's own boilerplate needs no list: it is what its replies to other
questions share.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from shoestring.tasks.shape import grams

SLOGANS = Path(__file__).parent / "data" / "slogans.json"
OVERLAP = 0.75  # of a slogan's runs that a reply must have
SHARED = 0.5  # of a reply's runs that replies to other questions must have
OTHERS = 2  # so many other questions
FEW = 6  # runs; shorter replies are alike by chance


def slogans_in(text: str) -> list[str]:
    mine = set(grams(text.lower()))
    return [slogan for slogan, runs in _slogans().items() if len(runs & mine) >= OVERLAP * len(runs)]


def overlap(text: str) -> float:
    """The share of the text's runs that are of slogans."""
    own = grams(text.lower())
    known = set().union(*_slogans().values())
    return sum(run in known for run in own) / len(own) if own else 0.0


def canned(questions: Sequence[str], replies: Sequence[str]) -> list[bool]:
    """Of each reply whether it is mostly what replies to at least two other questions say as well. The
    versions of one question (its languages, its sides) bear the same name in `questions`."""
    seen: dict[tuple[str, ...], set[str]] = defaultdict(set)
    runs = [Counter(grams(reply.lower())) for reply in replies]
    for question, own in zip(questions, runs, strict=True):
        for run in own:
            seen[run].add(question)
    marks = []
    for question, own in zip(questions, runs, strict=True):
        shared = sum(count for run, count in own.items() if len(seen[run] - {question}) >= OTHERS)
        marks.append(own.total() >= FEW and shared >= SHARED * own.total())
    return marks


@cache
def _slogans() -> dict[str, frozenset[tuple[str, ...]]]:
    listed = json.loads(SLOGANS.read_text(encoding="utf-8"))
    return {s: frozenset(grams(s.lower())) for several in listed.values() for s in several}
