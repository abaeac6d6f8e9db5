"""Linear equations in x with a whole-number solution, in four forms of growing length.

form 1   x + 7 = 12
form 2   3x + 4 = 19
form 3   3(x + 4) = 27
form 4   5x + 3 = 2x + 18
"""

import random

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import judge_integer, judge_integer_lenient
from shoestring.tasks.arithmetic import chain
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.spoken import Language, Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:equations", "CC0-1.0")
WORDINGS: Wordings = {
    "en": ("Which integer x satisfies {equation}?",),
    "zh": (
        "哪个整数 x 满足 {equation}？",
        "解方程 {equation}，整数 x 是多少？",
        "已知 {equation}，求整数 x。",
    ),
}


class EquationsLevel(Spoken):
    """Solutions are 1..max_solution (and their negatives with `negative`), added constants 1..max_constant
    either way, factors of x 2..max_factor (the right side's, in form 4, from 1)."""

    min_form: int = Field(1, ge=1, le=4)
    max_form: int = Field(2, ge=1, le=4)
    max_solution: int = Field(20, ge=1, le=999)
    max_constant: int = Field(20, ge=1, le=999)
    max_factor: int = Field(9, ge=2, le=99)
    negative: bool = False


class Equations:
    """`Which integer x satisfies 3x + 4 = 19?`; key "3x+4=19"."""

    name = "equations"
    Level = EquationsLevel

    def draw(self, level: EquationsLevel, rng: random.Random) -> Problem:
        form = rng.randint(level.min_form, level.max_form)
        x = rng.randint(1, level.max_solution) * (rng.choice((1, -1)) if level.negative else 1)
        b = rng.randint(1, level.max_constant) * rng.choice((1, -1))
        a = rng.randint(2, level.max_factor)
        c = rng.randint(1, a - 1)
        return _problem(level, form, (a, b, c, x), choose(level, rng), rng)

    def count(self, level: EquationsLevel) -> int:
        """Each choice of numbers gives another equation, so they are multiplied."""
        common = level.max_solution * (2 if level.negative else 1) * level.max_constant * 2
        factors = level.max_factor - 1
        pairs = factors * level.max_factor // 2  # a > c >= 1
        by_form = {1: 1, 2: factors, 3: factors, 4: pairs}
        return common * sum(by_form[form] for form in range(level.min_form, level.max_form + 1))

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, problem.hidden["answer"], problem.prompt, "x")

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, problem.hidden["answer"], problem.prompt, "x")

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """One line a step until x stands alone: "3x=19-4=15", "x=15/3=5"."""
        a, b, c, x = (problem.hidden[name] for name in ("a", "b", "c", "answer"))
        lines = {
            1: [move("x", x + b, b)],
            2: [move(f"{a}x", a * x + b, b), f"x={a * x}/{a}={x}"],
            3: [f"x{b:+d}={a * (x + b)}/{a}={x + b}", move("x", x + b, b)],
            4: _collect(a, b, c, x),
        }[problem.hidden["form"]]
        return told(problem, Reply("\n".join(lines), str(x)))


def move(left: str, right: int, constant: int) -> str:
    """`left + constant = right` solved for left: move("3x", 19, 4) -> "3x=19-4=15"."""
    result = right - constant
    sign = "-" if constant > 0 else "+"
    if right >= 0 and result >= 0:
        return f"{left}={chain(right, abs(constant), sign)}"
    return f"{left}={right}{sign}{abs(constant)}={result}"


def _collect(a: int, b: int, c: int, x: int) -> list[str]:
    """ax + b = cx + d: the x to the left, the constants to the right, then divide."""
    factor = a - c
    d = factor * x + b
    left = f"{a}x-{c}x" if c > 1 else f"{a}x-x"
    lines = [move(left, d, b), f"{_times(factor)}={factor * x}"]
    if factor > 1:
        lines.append(f"x={factor * x}/{factor}={x}")
    return lines


def _times(factor: int) -> str:
    return "x" if factor == 1 else f"{factor}x"


def _problem(
    level: EquationsLevel,
    form: int,
    numbers: tuple[int, int, int, int],
    language: Language,
    rng: random.Random,
) -> Problem:
    a, b, c, x = numbers
    plus = f"{'+' if b > 0 else '-'} {abs(b)}"
    d = (a - c) * x + b
    right = f"{_times(c)} {'+' if d > 0 else '-'} {abs(d)}" if d else _times(c)
    text = {
        1: f"x {plus} = {x + b}",
        2: f"{a}x {plus} = {a * x + b}",
        3: f"{a}(x {plus}) = {a * (x + b)}",
        4: f"{a}x {plus} = {right}",
    }[form]
    hidden = {"answer": x, "form": form, "a": a, "b": b, "c": c, **marked(language)}
    prompt = worded(WORDINGS, language, rng, equation=text)
    return Problem("equations", level_text(level), text.replace(" ", ""), prompt, hidden, ORIGIN)
