"""Sums of a few whole numbers. Two sums of the same terms in another order are the same problem."""

import random
from functools import cache

import numpy as np
from pydantic import Field, model_validator

from shoestring.origin import Origin
from shoestring.tasks.answers import judge_integer, judge_integer_lenient
from shoestring.tasks.arithmetic import chain, multisets
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.spoken import Language, Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:sums", "CC0-1.0")
WORDINGS: Wordings = {
    "en": ("What is {sum}?",),
    "zh": ("{sum} 等于多少？", "{sum} 的结果是多少？", "请计算：{sum}", "算一算 {sum} 得几。"),
}


class SumsLevel(Spoken):
    """Terms run from 1 (or 10, 100 by min_digits) to 9, 99, 999 (by max_digits), or to max_value if that is
    less. With `subtract` some terms are taken away; no running total is below zero."""

    min_terms: int = Field(2, ge=2, le=8)
    max_terms: int = Field(4, ge=2, le=8)
    min_digits: int = Field(1, ge=1, le=3)
    max_digits: int = Field(2, ge=1, le=3)
    max_value: int = Field(999, ge=1, le=999)
    subtract: bool = False

    @model_validator(mode="after")
    def _ranges(self) -> "SumsLevel":
        if self.low > self.high:
            raise ValueError(
                f"no term fits: min_digits {self.min_digits} starts at {self.low}, "
                f"max_digits {self.max_digits} and max_value {self.max_value} end at {self.high}"
            )
        return self

    @property
    def low(self) -> int:
        return 10 ** (self.min_digits - 1)

    @property
    def high(self) -> int:
        return min(10**self.max_digits - 1, self.max_value)


class Sums:
    """`What is 17 + 5 + 42?`; key "5+17+42", and with subtraction "5+42-17"."""

    name = "sums"
    Level = SumsLevel

    def draw(self, level: SumsLevel, rng: random.Random) -> Problem:
        size = rng.randint(level.min_terms, level.max_terms)
        while True:
            terms = [rng.randint(level.low, level.high) for _ in range(size)]
            signs = ["+"] + [rng.choice("+-") if level.subtract else "+" for _ in range(size - 1)]
            steps = list(zip(signs, terms, strict=True))
            totals = _totals(steps)
            if totals[-1] < 0:
                continue
            if min(totals) < 0:  # what is added first, then what is taken away
                steps.sort(key=lambda step: step[0])
            return _problem(level, steps, choose(level, rng), rng)

    def count(self, level: SumsLevel) -> int:
        sizes = range(level.min_terms, level.max_terms + 1)
        if not level.subtract:
            return sum(multisets(level.high - level.low + 1, size) for size in sizes)
        return sum(_count_signed(level.low, level.high, size) for size in sizes)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, problem.hidden["answer"], problem.prompt)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, problem.hidden["answer"], problem.prompt)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """One line a term, its tens added before its ones: 22+42=62+2=64."""
        (_, total), *rest = problem.hidden["steps"]
        lines = []
        for sign, term in rest:
            lines.append(chain(total, term, sign))
            total += term if sign == "+" else -term
        return told(problem, Reply("\n".join(lines), str(total)))


def _totals(steps: list[tuple[str, int]]) -> list[int]:
    total, totals = 0, []
    for sign, term in steps:
        total += term if sign == "+" else -term
        totals.append(total)
    return totals


def _problem(
    level: SumsLevel, steps: list[tuple[str, int]], language: Language, rng: random.Random
) -> Problem:
    text = " ".join(f"{sign} {term}" for sign, term in steps).removeprefix("+ ")
    # by sign ("+" sorts before "-"), then by size: reordering makes no new problem
    key = "".join(f"{sign}{term}" for sign, term in sorted(steps)).removeprefix("+")
    hidden = {"answer": _totals(steps)[-1], "steps": tuple(steps), **marked(language)}
    prompt = worded(WORDINGS, language, rng, sum=text)
    return Problem("sums", level_text(level), key, prompt, hidden, ORIGIN)


@cache
def _count_signed(low: int, high: int, size: int) -> int:
    """Pairs of multisets (added, at least one; taken away) of `size` terms together, the first summing to at
    least the second."""
    # ways[k, s]: multisets of k terms that sum to s, by adding one possible term after another
    ways = np.zeros((size + 1, size * high + 1), dtype=np.int64)
    ways[0, 0] = 1
    for value in range(low, high + 1):
        for k in range(1, size + 1):
            ways[k, value:] += ways[k - 1, :-value]
    total = 0
    for taken in range(size):
        below = [int(n) for n in ways[taken].cumsum()]  # taken-away sums up to s
        total += sum(int(n) * m for n, m in zip(ways[size - taken], below, strict=True))
    return total
