"""Products of two whole numbers, worked by parts: each place of the one times each place of the other. Two
factors in another order are the same problem."""

import random

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import judge_integer, judge_integer_lenient
from shoestring.tasks.arithmetic import chain, places
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:products", "CC0-1.0")
WORDINGS: Wordings = {
    "en": ("What is {a} * {b}?", "What is {a} times {b}?", "Multiply {a} by {b}."),
    "zh": ("{a} * {b} 等于多少？", "{a} 乘以 {b} 是多少？", "请计算：{a} * {b}", "求 {a} 与 {b} 的积。"),
}


class ProductsLevel(Spoken):
    """The first factor has min_digits..max_digits, the second up to second_digits; neither is 0 or 1."""

    min_digits: int = Field(1, ge=1, le=5)
    max_digits: int = Field(3, ge=1, le=5)
    second_digits: int = Field(1, ge=1, le=2)

    @property
    def first(self) -> range:
        return range(max(2, 10 ** (self.min_digits - 1)), 10**self.max_digits)

    @property
    def second(self) -> range:
        return range(2, 10**self.second_digits)


class Products:
    """`What is 47 * 6?`; key "6*47": the smaller factor first."""

    name = "products"
    Level = ProductsLevel

    def draw(self, level: ProductsLevel, rng: random.Random) -> Problem:
        a, b = rng.choice(level.first), rng.choice(level.second)
        language = choose(level, rng)
        shown = (a, b) if rng.random() < 0.5 else (b, a)
        prompt = worded(WORDINGS, language, rng, a=shown[0], b=shown[1])
        key = f"{min(a, b)}*{max(a, b)}"
        hidden = {"answer": a * b, "a": max(a, b), "b": min(a, b), **marked(language)}
        return Problem("products", level_text(level), key, prompt, hidden, ORIGIN)

    def count(self, level: ProductsLevel) -> int:
        """Ordered pairs, less those that come in both orders."""
        both = len(range(max(level.first[0], 2), min(level.first[-1], level.second[-1]) + 1))
        return len(level.first) * len(level.second) - both * (both - 1) // 2

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, problem.hidden["answer"], problem.prompt)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, problem.hidden["answer"], problem.prompt)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """A line a part and a line a sum: "40*6=240", "7*6=42", "240+42=280+2=282"."""
        return told(problem, _solution([a * b for a, b in _parts(problem)], problem))


def _parts(problem: Problem) -> list[tuple[int, int]]:
    return [(a, b) for b in places(problem.hidden["b"]) for a in places(problem.hidden["a"])]


def _solution(values: list[int], problem: Problem) -> Reply:
    """The parts' products taken for `values`."""
    lines, total = [], 0
    for (a, b), value in zip(_parts(problem), values, strict=True):
        lines.append(f"{a}*{b}={value}")
        if total:
            lines.append(chain(total, value))
        total += value
    return Reply("\n".join(lines), str(total))


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """One part has its second factor, or its unit, once too often or too rarely."""
    parts = _parts(problem)
    values = [a * b for a, b in parts]
    at = rng.randrange(len(values))
    off = rng.choice((parts[at][1], 10 ** (len(str(values[at])) - 1)))
    values[at] += off if values[at] == off else rng.choice((-off, off))
    return _solution(values, problem)


def habit(problem: Problem) -> Reply:
    """Of ones times ones only the last digit is written: the carry is forgotten."""
    values = [a * b % 10 if a < 10 and b < 10 else a * b for a, b in _parts(problem)]
    return _solution(values, problem)
