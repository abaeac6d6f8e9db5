"""What changed between two steps of a run: rates, lengths, and what is said more or less often."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shoestring.report.rollouts import Kept

WORDS_OF = 1024  # samples of a side whose words are counted, evenly spread
SHOWN = 8  # phrases of a direction
LONGEST = 3  # words of a phrase
# a mark like <think>; a number; one Chinese or Japanese character; a word; a sign
EAST = r"\u3040-\u30ff\u3400-\u9fff"
TOKEN = re.compile(rf"</?[\w|]{{1,20}}>|\d+(?:[.,]\d+)*|[{EAST}]|[^\W\d_{EAST}]+(?:'[^\W\d_]+)*|[^\w\s]")


@dataclass(frozen=True)
class Rates:
    """Of all samples of a suite in one step (or several). None where no sample has the number."""

    samples: int
    groups: int
    reward: float | None
    tokens: float | None
    live: float | None  # share of samples in groups with a difference
    shares: Mapping[str, float]  # by outcome, and "cut"


@dataclass(frozen=True)
class Phrase:
    """A run of words, numbers as #, and how many samples of each side have it."""

    text: str
    before: int
    after: int


@dataclass(frozen=True)
class Changes:
    suites: Mapping[str, tuple[Rates | None, Rates | None]]  # before, after; None: not asked
    more: tuple[Phrase, ...]
    less: tuple[Phrase, ...]
    counted: tuple[int, int]  # samples of each side whose words were counted
    problems: tuple[str, ...]  # in both


@dataclass(frozen=True)
class Side:
    """What is compared of one step's (or several steps') samples, counted once."""

    suites: Mapping[str, Rates]
    phrases: Counter[str]  # samples that have it
    counted: int
    problems: tuple[str, ...]


def side(rows: Sequence[Kept]) -> Side:
    suites: dict[str, list[Kept]] = {}
    for row in rows:
        suites.setdefault(row.suite, []).append(row)
    read = rows[:: max(1, -(-len(rows) // WORDS_OF))]
    return Side(
        suites={name: rates(own) for name, own in sorted(suites.items())},
        phrases=Counter(phrase for row in read for phrase in phrases(row.completion)),
        counted=len(read),
        problems=tuple(dict.fromkeys(row.problem for row in rows if row.problem)),
    )


def changes(before: Side, after: Side) -> Changes:
    more, less = _phrases(before, after)
    now = set(after.problems)
    return Changes(
        suites={
            name: (before.suites.get(name), after.suites.get(name))
            for name in sorted({*before.suites, *after.suites})
        },
        more=more,
        less=less,
        counted=(before.counted, after.counted),
        problems=tuple(problem for problem in before.problems if problem in now),
    )


def rates(rows: Sequence[Kept]) -> Rates:
    names = [*dict.fromkeys(sorted(row.outcome for row in rows)), "cut"]
    return Rates(
        samples=len(rows),
        groups=len({(row.step, row.group) for row in rows}),
        reward=_mean([row.reward for row in rows]),
        tokens=_mean([row.tokens for row in rows]),
        live=_mean([row.live for row in rows]),
        shares={name: sum(row.is_(name) for row in rows) / len(rows) for name in names},
    )


def phrases(text: str) -> set[str]:
    """Every run of one to LONGEST words of `text`, once however often it comes."""
    words = ["#" if word[0].isdigit() else word.lower() for word in TOKEN.findall(text)]
    return {
        " ".join(words[start : start + length])
        for length in range(1, LONGEST + 1)
        for start in range(len(words) - length + 1)
    }


def _phrases(before: Side, after: Side) -> tuple[tuple[Phrase, ...], tuple[Phrase, ...]]:
    """Those whose log-odds of being in a sample rose and fell, by the difference over its standard error
    (counts half a sample larger, so that none is 0). At least 2 errors, for many are looked at."""
    scored: list[tuple[float, Phrase]] = []
    for text in before.phrases.keys() | after.phrases.keys():
        b, a = before.phrases[text], after.phrases[text]
        if a + b < 3:
            continue
        cells = (b + 0.5, before.counted - b + 0.5, a + 0.5, after.counted - a + 0.5)
        log_odds = math.log(cells[2] / cells[3]) - math.log(cells[0] / cells[1])
        scored.append((log_odds / math.sqrt(sum(1 / cell for cell in cells)), Phrase(text, b, a)))
    scored.sort(key=lambda item: (-abs(item[0]), -_num_words(item[1].text), -len(item[1].text), item[1].text))
    rose = [phrase for z, phrase in scored if z >= 2]
    fell = [phrase for z, phrase in scored if z <= -2]
    return _distinct(rose), _distinct(fell)


def _distinct(found: Sequence[Phrase]) -> tuple[Phrase, ...]:
    """The first SHOWN, without those that only tell again what one before them does: a piece of it, more
    around it, or, in as many samples, the words beside it."""
    kept: list[Phrase] = []
    for phrase in found:
        if not any(_tells_the_same(phrase, other) for other in kept):
            kept.append(phrase)
        if len(kept) == SHOWN:
            break
    return tuple(kept)


def _tells_the_same(phrase: Phrase, other: Phrase) -> bool:
    own, others = f" {phrase.text} ", f" {other.text} "
    if own in others or others in own:
        return True
    as_often = (phrase.before, phrase.after) == (other.before, other.after)
    return as_often and bool(set(own.split()) & set(others.split()))


def _num_words(text: str) -> int:
    return sum(word.isalpha() for word in text.split())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
