"""Which of several decimals is the largest or the smallest: 9.11 or 9.8?"""

import random
import re
from fractions import Fraction
from math import comb
from typing import Literal

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import Found, clean, find_integer, judge, narrow, number, numbers
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, listed, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:compare", "CC0-1.0")

Wanted = Literal["largest", "smallest"]
WANTED: tuple[Wanted, ...] = ("largest", "smallest")
WORDINGS: dict[Wanted, Wordings] = {
    "largest": {
        "en": ("Which number is the largest: {numbers}?", "Which is greatest, {numbers}?"),
        "zh": ("哪个数最大：{numbers}？", "{numbers}，哪一个最大？"),
    },
    "smallest": {
        "en": ("Which number is the smallest: {numbers}?", "Which is least, {numbers}?"),
        "zh": ("哪个数最小：{numbers}？", "{numbers}，哪一个最小？"),
    },
}
# "9.8 is larger than 9.11" names 9.8; "9.11 is smaller than 9.8" too
OTHERS = r"(?:(?:,|and|or|both|和)?\s*\d+(?:\.\d+)?)+"
THAN = {
    "largest": re.compile(rf"\b(?:larg|great|bigg|high)er than\s+{OTHERS}|比{OTHERS}(?=\s*(?:更|都)?[大高])"),
    "smallest": re.compile(
        rf"\b(?:small|low)er than\s+{OTHERS}|\bless than\s+{OTHERS}|比{OTHERS}(?=\s*(?:更|都)?[小低])"
    ),
}
CLAIM = re.compile(r"(\d+(?:\.\d+)?)\s+(?:is\b|是?最[大小])")


class CompareLevel(Spoken):
    """min_numbers..max_numbers different numbers from 0 to max_whole with up to max_decimals decimals, none
    of which ends in 0. Three times in four all have the same whole part. wanted "any" draws from both."""

    wanted: Wanted | Literal["any"] = "any"
    min_numbers: int = Field(2, ge=2, le=6)
    max_numbers: int = Field(3, ge=2, le=6)
    max_whole: int = Field(20, ge=0, le=999)
    max_decimals: int = Field(2, ge=1, le=4)

    @property
    def wants(self) -> tuple[Wanted, ...]:
        return WANTED if self.wanted == "any" else (self.wanted,)


class Compare:
    """key "largest:9.09,9.11,9.8": the numbers in order of size."""

    name = "compare"
    Level = CompareLevel

    def draw(self, level: CompareLevel, rng: random.Random) -> Problem:
        wanted = rng.choice(level.wants)
        size = rng.randint(level.min_numbers, level.max_numbers)
        same = rng.randint(0, level.max_whole) if rng.random() < 0.75 else None
        drawn: list[str] = []
        while len(drawn) < size:
            whole = rng.randint(0, level.max_whole) if same is None else same
            text = f"{whole}{_decimals(rng.randint(0, level.max_decimals), rng)}"
            if text not in drawn:
                drawn.append(text)
        language = choose(level, rng)
        prompt = worded(WORDINGS[wanted], language, rng, numbers=listed(drawn, language, last="or"))
        ordered = sorted(drawn, key=Fraction)
        answer = ordered[-1] if wanted == "largest" else ordered[0]
        hidden = {"answer": answer, "wanted": wanted, "numbers": tuple(drawn), **marked(language)}
        key = f"{wanted}:{','.join(ordered)}"
        return Problem("compare", level_text(level), key, prompt, hidden, ORIGIN)

    def count(self, level: CompareLevel) -> int:
        values = (level.max_whole + 1) * 10**level.max_decimals
        sizes = range(level.min_numbers, level.max_numbers + 1)
        return len(level.wants) * sum(comb(values, size) for size in sizes)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        """Right when the one number stated has the wanted one's value."""
        text = narrow(reply.answer.replace(problem.prompt, "\n"))
        text = THAN[problem.hidden["wanted"]].sub("", text)
        claims = {number(found) for found in CLAIM.findall(text)}
        if len(claims) > 1:  # each of them is said to be the one
            return judge(Found(tuple(claims)), problem.hidden["answer"])
        return judge(find_integer(text), problem.hidden["answer"])  # which reads decimals too

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """Right also when the wanted one is the last number of the answer, or of all that was said."""
        for text in (reply.answer, f"{reply.reasoning or ''}\n{reply.answer}"):
            if numbers(clean(text, problem.prompt))[-1:] == [problem.hidden["answer"]]:
                return Verdict(Outcome.RIGHT, 1.0)
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """All to one length, then the best so far beside the next: "9.11 9.80 9.09", "9.11<9.80",
        "9.80>9.09"."""
        return told(problem, _solution(problem, padded(problem.hidden["numbers"])))


def padded(given: tuple[str, ...]) -> list[str]:
    """["9.11", "9.8"] -> ["9.11", "9.80"]."""
    parts = [text.partition(".") for text in given]
    longest = max(len(decimals) for _, _, decimals in parts)
    return [f"{whole}.{decimals.ljust(longest, '0')}" if longest else whole for whole, _, decimals in parts]


def _solution(problem: Problem, written: list[str], mistaken: int = 0, lengths: bool = False) -> Reply:
    """The numbers compared as `written`; comparison `mistaken` (from 1) goes the wrong way. lengths: decimals
    are read as whole numbers, 11 above 8."""
    best, lines = 0, [" ".join(written)]
    for i in range(1, len(written)):
        keys = [_read_whole(written[at]) if lengths else Fraction(written[at]) for at in (best, i)]
        above = (keys[0] > keys[1]) != (i == mistaken)
        lines.append(f"{written[best]}{'>' if above else '<'}{written[i]}")
        if above != (problem.hidden["wanted"] == "largest"):
            best = i
    return Reply("\n".join(lines), problem.hidden["numbers"][best])


def _read_whole(text: str) -> Fraction:
    whole, _, decimals = text.partition(".")
    return Fraction(int(whole) * 10**6 + int(decimals or 0))


def _decimals(count: int, rng: random.Random) -> str:
    if not count:
        return ""
    return f".{''.join(rng.choice('0123456789') for _ in range(count - 1))}{rng.choice('123456789')}"


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The wanted number loses a comparison that it should win."""
    hidden = problem.hidden
    at = max(1, hidden["numbers"].index(hidden["answer"]))
    return _solution(problem, padded(hidden["numbers"]), mistaken=at)


def habit(problem: Problem) -> Reply:
    """Decimals are compared as if they were whole numbers: 9.11 above 9.8, for 11 is above 8."""
    return _solution(problem, list(problem.hidden["numbers"]), lengths=True)
