"""The next term of a sequence, from the differences (or the factor) of those before it."""

import random
from itertools import pairwise
from typing import Literal

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import judge_integer, judge_integer_lenient
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:sequences", "CC0-1.0")
WORDINGS: Wordings = {
    "en": (
        "What number comes next: {terms}?",
        "Find the next term of {terms}.",
        "{terms}: which number continues this sequence?",
    ),
    "zh": ("找规律：{terms}，下一个数是多少？", "数列 {terms} 的下一项是几？", "{terms}，接下来是哪个数？"),
}

Rule = Literal["add", "take", "alternate", "growing", "multiply"]
RULES: tuple[Rule, ...] = ("add", "take", "alternate", "growing", "multiply")
SHOWN = 4


class SequencesLevel(Spoken):
    """Four terms are shown. Starts 1..max_start, steps 1..max_step. rule: "add" the same each time, "take" it
    away (never below 0), "alternate" plus one step and minus another, "growing" differences, "multiply" by
    2..5, or any."""

    rule: Rule | Literal["any"] = "any"
    max_start: int = Field(30, ge=1, le=200)
    max_step: int = Field(9, ge=2, le=50)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return RULES if self.rule == "any" else (self.rule,)


class Sequences:
    """key "3,7,11,15"."""

    name = "sequences"
    Level = SequencesLevel

    def draw(self, level: SequencesLevel, rng: random.Random) -> Problem:
        rule, start = rng.choice(level.rules), rng.randint(1, level.max_start)
        a, b = rng.randint(1, level.max_step), rng.randint(1, level.max_step)
        factor = rng.randint(2, 5)
        if rule == "alternate":
            a, b = rng.sample(range(1, level.max_step + 1), 2)
        terms = terms_of(rule, start, factor if rule == "multiply" else a, b)
        language = choose(level, rng)
        shown = ", ".join(map(str, terms[:SHOWN]))
        prompt = worded(WORDINGS, language, rng, terms=shown)
        hidden = {"answer": terms[SHOWN], "rule": rule, "terms": tuple(terms[:SHOWN]), **marked(language)}
        key = shown.replace(" ", "")
        return Problem("sequences", level_text(level), key, prompt, hidden, ORIGIN)

    def count(self, level: SequencesLevel) -> int:
        """No two rules give the same four terms: equal differences, falling ones, a sign that changes,
        differences that grow by a sum and by a factor."""
        step = level.max_step
        ways = {"add": step, "take": step, "alternate": step * (step - 1), "growing": step**2, "multiply": 4}
        return level.max_start * sum(ways[rule] for rule in level.rules)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, problem.hidden["answer"], problem.prompt)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, problem.hidden["answer"], problem.prompt)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """What lies between the terms, what comes next, the sum: "7-3=4 11-7=4 15-11=4", "15+4=19"."""
        return told(problem, _solution(problem, _next_step(problem)))


def terms_of(rule: Rule, start: int, a: int, b: int) -> list[int]:
    """The terms shown and the one asked for. "take" starts high enough to end at `start`."""
    if rule == "take":
        return [start + a * i for i in range(SHOWN, -1, -1)]
    if rule == "multiply":
        return [start * a**i for i in range(SHOWN + 1)]
    steps = {
        "add": [a] * SHOWN,
        "alternate": [a, -b] * (SHOWN // 2),
        "growing": [a + b * i for i in range(SHOWN)],
    }[rule]
    base = start + (b if rule == "alternate" else 0) * (SHOWN // 2)  # never below 0
    return [base + sum(steps[:i]) for i in range(SHOWN + 1)]


def _differences(problem: Problem) -> list[int]:
    return [after - before for before, after in pairwise(problem.hidden["terms"])]


def _next_step(problem: Problem) -> int:
    last = problem.hidden["terms"][-1]
    return problem.hidden["answer"] - last


def _solution(problem: Problem, step: int, off: int = 0) -> Reply:
    terms = problem.hidden["terms"]
    if problem.hidden["rule"] == "multiply" and (terms[-1] + step) % terms[-1] == 0 and step > 0:
        factor = (terms[-1] + step) // terms[-1]
        lines = [" ".join(f"{b}/{a}={b // a}" for a, b in pairwise(terms))]
        lines.append(f"{terms[-1]}*{factor}={terms[-1] + step + off}")
    else:
        lines = [" ".join(f"{b}-{a}={b - a}" for a, b in pairwise(terms))]
        lines.append(f"{terms[-1]}{'+' if step >= 0 else '-'}{abs(step)}={terms[-1] + step + off}")
    return Reply("\n".join(lines), str(terms[-1] + step + off))


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The last line comes out a little off."""
    return _solution(problem, _next_step(problem), off=rng.choice((-2, -1, 1, 2)))


def habit(problem: Problem) -> Reply:
    """The first difference is taken for all of them."""
    return _solution(problem, _differences(problem)[0])
