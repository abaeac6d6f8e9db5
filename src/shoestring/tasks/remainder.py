"""What a division leaves over, worked digit by digit as on paper."""

import random

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import judge_integer, judge_integer_lenient
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:remainder", "CC0-1.0")
WORDINGS: Wordings = {
    "en": (
        "What is the remainder when {a} is divided by {b}?",
        "Divide {a} by {b}. What remainder is left?",
        "What is {a} modulo {b}?",
    ),
    "zh": ("{a} 除以 {b} 的余数是多少？", "求 {a} 除以 {b} 的余数。", "用 {b} 去除 {a}，还剩几？"),
}


class RemainderLevel(Spoken):
    """Dividends of min_digits..max_digits, divisors 2..max_divisor."""

    min_digits: int = Field(2, ge=1, le=6)
    max_digits: int = Field(3, ge=1, le=6)
    max_divisor: int = Field(9, ge=2, le=99)

    @property
    def dividends(self) -> range:
        return range(10 ** (self.min_digits - 1), 10**self.max_digits)


class Remainder:
    """key "847%6"."""

    name = "remainder"
    Level = RemainderLevel

    def draw(self, level: RemainderLevel, rng: random.Random) -> Problem:
        a, b = rng.choice(level.dividends), rng.randint(2, level.max_divisor)
        language = choose(level, rng)
        prompt = worded(WORDINGS, language, rng, a=a, b=b)
        hidden = {"answer": a % b, "a": a, "b": b, **marked(language)}
        return Problem("remainder", level_text(level), f"{a}%{b}", prompt, hidden, ORIGIN)

    def count(self, level: RemainderLevel) -> int:
        return len(level.dividends) * (level.max_divisor - 1)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, problem.hidden["answer"], problem.prompt)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, problem.hidden["answer"], problem.prompt)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """A line a digit, what was left before it in front: 847 by 6 is "8-6*1=2", "24-6*4=0", "7-6*1=1"."""
        return told(problem, _solution(problem, carried=True))


def _solution(problem: Problem, carried: bool) -> Reply:
    divisor, left, lines = problem.hidden["b"], 0, []
    for digit in str(problem.hidden["a"]):
        whole = (10 * left if carried else 0) + int(digit)
        left = whole % divisor
        lines.append(f"{whole}-{divisor}*{whole // divisor}={left}")
    return Reply("\n".join(lines), str(left))


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The last line comes out one off."""
    right = problem.hidden["answer"]
    wrong = str(right + rng.choice((-1, 1) if right else (1,)))
    return Reply(f"{(reply.reasoning or '').removesuffix(str(right))}{wrong}", wrong)


def habit(problem: Problem) -> Reply:
    """What is left at a digit is not taken along to the next."""
    return _solution(problem, carried=False)
