"""Reach a target from given numbers with + - * /. The worked solution is a search: tries, then a hit."""

import random
import re
from functools import cache
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

from pydantic import Field, model_validator

from shoestring.origin import Origin
from shoestring.tasks.answers import Found, clean, distinct
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.expression import NotAnExpression, parse_expression
from shoestring.tasks.spoken import Language, Spoken, Wordings, choose, listed, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:countdown", "CC0-1.0")
WORDINGS: Wordings = {
    "en": (
        "Using the numbers {numbers}, each at most once, and + - * /, "
        "write an expression that equals {target}.",
    ),
    "zh": (
        "用数字{numbers}（每个最多用一次）和 + - * /，写出一个等于{target}的算式。",
        "请用{numbers}这几个数和 + - * / 组成一个结果为{target}的算式，每个数最多用一次。",
    ),
}
RUN = re.compile(r"[-\d(][-\d +*/()]*")
OPERATED = re.compile(r"[\d)][-+*/][-\d(]")
MAX_TRIES = 2  # dead ends before the hit


class CountdownLevel(Spoken):
    """Numbers are 1..max_value, repeats allowed; targets 1..max_target, each reachable by whole positive
    steps and none of the numbers itself. Four numbers stop at 12: beyond, counting the problems takes
    minutes."""

    min_numbers: int = Field(3, ge=2, le=4)
    max_numbers: int = Field(3, ge=2, le=4)
    max_value: int = Field(10, ge=2, le=25)
    max_target: int = Field(50, ge=5, le=999)

    @model_validator(mode="after")
    def _ranges(self) -> "CountdownLevel":
        if self.max_numbers == 4 and self.max_value > 12:
            raise ValueError(f"with 4 numbers max_value is at most 12, not {self.max_value}")
        return self


class Tree(NamedTuple):
    """A number (operator "") or two trees joined; every value in it is whole and positive."""

    value: int
    operator: str = ""
    left: "Tree | None" = None
    right: "Tree | None" = None


class Countdown:
    """key "3,5,8>19": the numbers sorted, and the target."""

    name = "countdown"
    Level = CountdownLevel

    def draw(self, level: CountdownLevel, rng: random.Random) -> Problem:
        while True:
            size = rng.randint(level.min_numbers, level.max_numbers)
            numbers = [rng.randint(1, level.max_value) for _ in range(size)]
            targets = sorted(solutions(tuple(sorted(numbers)), level.max_target))
            if targets:
                target = rng.choice(targets)
                return _problem(level, numbers, target, choose(level, rng), rng)

    def count(self, level: CountdownLevel) -> int:
        values = range(1, level.max_value + 1)
        return sum(
            len(solutions(numbers, level.max_target))
            for size in range(level.min_numbers, level.max_numbers + 1)
            for numbers in combinations_with_replacement(values, size)
        )

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        """Right when the one expression in the answer hits the target with numbers it may use. "8*3-5=19"
        holds one expression; a list of several is wrong."""
        found = find_expressions(reply.answer, problem.prompt)
        if not found.values:
            return Verdict(Outcome.UNPARSED, 0.0, detail="no expression found")
        if found.single is None:
            return Verdict(Outcome.WRONG, 0.0, detail=f"several expressions: {', '.join(found.values[:3])}")
        fault = _fault(found.single, problem)
        return Verdict(Outcome.WRONG, 0.0, detail=fault) if fault else Verdict(Outcome.RIGHT, 1.0)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """Right when any expression anywhere, thinking included, hits."""
        whole = f"{reply.reasoning or ''}\n{reply.answer}"
        if any(not _fault(text, problem) for text in find_expressions(whole, problem.prompt).values):
            return Verdict(Outcome.RIGHT, 1.0)
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """A try a line, step by step, with its verdict: "8+5=13 13+3=16 no", "8*3=24 24-5=19 yes"."""
        numbers, target = tuple(sorted(problem.hidden["numbers"])), problem.hidden["target"]
        hit = solutions(numbers, target)[target]
        others = [tree for _, tree in sorted(reach(numbers).items()) if _misses(tree, target)]
        tries = rng.sample(others, min(rng.randint(0, MAX_TRIES), len(others)))
        lines = [f"{' '.join(steps(tree))} no" for tree in tries]
        return told(problem, Reply("\n".join([*lines, f"{' '.join(steps(hit))} yes"]), text_of(hit)))


def find_expressions(text: str, prompt: str) -> Found:
    """The distinct expressions with an operator in `text`, without the question said back."""
    text = clean(text, prompt).replace("×", "*").replace("÷", "/")
    runs = ("".join(run.split()).rstrip("(+-*/") for run in RUN.findall(text))
    return distinct(run for run in runs if OPERATED.search(run))


def _fault(text: str, problem: Problem) -> str:
    """Why the expression isn't a solution; "" when it is one."""
    try:
        expression = parse_expression(text)
    except NotAnExpression as error:
        return f"'{text[:60]}': {error}"
    left = list(problem.hidden["numbers"])
    for number in expression.numbers:
        if number not in left:
            return f"'{text[:60]}' uses {number}, which isn't there or is used up"
        left.remove(number)
    target = problem.hidden["target"]
    return "" if expression.value == target else f"'{text[:60]}' is {expression.value}, not {target}"


def _misses(tree: Tree, target: int) -> bool:
    """A believable dead end: it never meets the target, and stays small."""
    values = [int(step.partition("=")[2]) for step in steps(tree)]
    return target not in values and max(values) < 1000


@cache
def reach(numbers: tuple[int, ...]) -> dict[int, Tree]:
    """Every value that uses all of `numbers` (sorted) once, by whole positive steps, with one way to it."""
    if len(numbers) == 1:
        return {numbers[0]: Tree(numbers[0])}
    found: dict[int, Tree] = {}
    places = range(len(numbers))
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(places, size):
            rest = tuple(numbers[i] for i in places if i not in chosen)
            for a in reach(tuple(numbers[i] for i in chosen)).values():
                for b in reach(rest).values():
                    for value, tree in _joined(a, b):
                        found.setdefault(value, tree)
    return found


def _joined(a: Tree, b: Tree) -> list[tuple[int, Tree]]:
    big, small = (a, b) if a.value >= b.value else (b, a)
    trees = [Tree(big.value + small.value, "+", big, small), Tree(big.value * small.value, "*", big, small)]
    if big.value > small.value:
        trees.append(Tree(big.value - small.value, "-", big, small))
    if big.value % small.value == 0:
        trees.append(Tree(big.value // small.value, "/", big, small))
    return [(tree.value, tree) for tree in trees]


def solutions(numbers: tuple[int, ...], max_target: int) -> dict[int, Tree]:
    """Each target up to max_target that two or more of `numbers` (sorted) reach, with a shortest way to
    it."""
    found: dict[int, Tree] = {}
    for size in range(2, len(numbers) + 1):
        for chosen in dict.fromkeys(combinations(numbers, size)):
            for value, tree in reach(chosen).items():
                if value <= max_target and value not in numbers:
                    found.setdefault(value, tree)
    return found


def steps(tree: Tree) -> list[str]:
    """["8*3=24", "24-5=19"]."""
    if tree.left is None or tree.right is None:
        return []
    last = f"{tree.left.value}{tree.operator}{tree.right.value}={tree.value}"
    return [*steps(tree.left), *steps(tree.right), last]


def text_of(tree: Tree) -> str:
    """With the brackets it needs: "(8+3)*5"."""
    if tree.left is None or tree.right is None:
        return str(tree.value)
    left, right = text_of(tree.left), text_of(tree.right)
    if tree.operator in "*/" and tree.left.operator in ("+", "-"):
        left = f"({left})"
    bracketed = {"+": "", "-": "+-", "*": "+-/", "/": "+-*/"}[tree.operator]
    if tree.right.operator and tree.right.operator in bracketed:
        right = f"({right})"
    return f"{left}{tree.operator}{right}"


def _problem(
    level: CountdownLevel, numbers: list[int], target: int, language: Language, rng: random.Random
) -> Problem:
    prompt = worded(WORDINGS, language, rng, numbers=listed(numbers, language), target=target)
    key = ",".join(map(str, sorted(numbers))) + f">{target}"
    hidden = {"numbers": tuple(numbers), "target": target, **marked(language)}
    return Problem("countdown", level_text(level), key, prompt, hidden, ORIGIN)
