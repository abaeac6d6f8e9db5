"""Put numbers or words in order: the next one is taken out of what is left, a line each."""

import random
import re
from math import comb
from typing import Literal

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import (
    BOXED,
    SEPARATOR,
    STATEMENT,
    Found,
    clean,
    distinct,
    judge,
    narrow,
    sentences,
    tagged,
)
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, listed, marked, told, worded
from shoestring.tasks.words import LISTED
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:sorting", "CC0-1.0")

Items = Literal["numbers", "words"]
Order = Literal["up", "down"]
ITEMS: tuple[Items, ...] = ("numbers", "words")
ORDERS: tuple[Order, ...] = ("up", "down")
WORDINGS: dict[tuple[Items, Order], Wordings] = {
    ("numbers", "up"): {
        "en": ("Sort from smallest to largest: {items}.", "Put {items} in ascending order."),
        "zh": ("把{items}从小到大排列。", "请将{items}按从小到大的顺序排好。"),
    },
    ("numbers", "down"): {
        "en": ("Sort from largest to smallest: {items}.", "Put {items} in descending order."),
        "zh": ("把{items}从大到小排列。", "请将{items}按从大到小的顺序排好。"),
    },
    ("words", "up"): {
        "en": ("Sort alphabetically: {items}.", "Put the words {items} in alphabetical order."),
        "zh": ("把单词{items}按字母顺序排列。", "请将{items}按字母表顺序排好。"),
    },
    ("words", "down"): {
        "en": ("Sort from z to a: {items}.", "Put the words {items} in reverse alphabetical order."),
        "zh": ("把单词{items}按字母顺序倒着排列。", "请将{items}按字母表的相反顺序排好。"),
    },
}
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
WORD = re.compile(r"[a-z]+")


class SortingLevel(Spoken):
    """min_items..max_items different numbers up to max_value, or everyday words. "any" draws from both
    kinds, or both ways."""

    items: Items | Literal["any"] = "numbers"
    order: Order | Literal["any"] = "up"
    min_items: int = Field(3, ge=2, le=8)
    max_items: int = Field(5, ge=2, le=8)
    max_value: int = Field(99, ge=9, le=999)

    @property
    def kinds(self) -> tuple[Items, ...]:
        return ITEMS if self.items == "any" else (self.items,)

    @property
    def orders(self) -> tuple[Order, ...]:
        return ORDERS if self.order == "any" else (self.order,)


class Sorting:
    """key "up:7,19,42", "down:apple,bear,cat": the items, sorted up."""

    name = "sorting"
    Level = SortingLevel

    def draw(self, level: SortingLevel, rng: random.Random) -> Problem:
        kind, order = rng.choice(level.kinds), rng.choice(level.orders)
        size = rng.randint(level.min_items, level.max_items)
        pool = range(1, level.max_value + 1) if kind == "numbers" else LISTED
        items = [str(item) for item in rng.sample(pool, size)]
        language = choose(level, rng)
        prompt = worded(WORDINGS[kind, order], language, rng, items=listed(items, language))
        ordered = _sorted(items, kind)
        answer = ", ".join(ordered if order == "up" else ordered[::-1])
        hidden = {"answer": answer, "kind": kind, "order": order, "items": tuple(items), **marked(language)}
        key = f"{order}:{','.join(ordered)}"
        return Problem("sorting", level_text(level), key, prompt, hidden, ORIGIN)

    def count(self, level: SortingLevel) -> int:
        pools = {"numbers": level.max_value, "words": len(LISTED)}
        sizes = range(level.min_items, level.max_items + 1)
        return len(level.orders) * sum(comb(pools[kind], size) for kind in level.kinds for size in sizes)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        """Right when the one list stated holds the items in order, each once."""
        return judge(find_list(reply.answer, problem), problem.hidden["answer"])

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """Right also when the last items named are the right list, in the answer or in all that was said."""
        gold = problem.hidden["answer"].split(", ")
        for text in (reply.answer, f"{reply.reasoning or ''}\n{reply.answer}"):
            if _items(_spaced(text, problem.prompt), problem)[-len(gold) :] == gold:
                return Verdict(Outcome.RIGHT, 1.0)
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """What is in place, a bar, what is left: "| 42 7 19", "7 | 42 19", "7 19 | 42", "7 19 42 |"."""
        hidden = problem.hidden
        return told(problem, _solution(list(hidden["items"]), hidden["answer"].split(", ")))


def _sorted(items: list[str], kind: Items) -> list[str]:
    return sorted(items, key=int) if kind == "numbers" else sorted(items)


def _solution(items: list[str], ordered: list[str]) -> Reply:
    lines = []
    for done in range(1, len(items)):
        left = [item for item in items if item not in ordered[:done]]
        lines.append(f"{' '.join(ordered[:done])} | {' '.join(left)}")
    return Reply("\n".join(lines), ", ".join(ordered))


def _spaced(text: str, prompt: str) -> str:
    """Lower case, a space after each comma: "7,120,305" are three numbers."""
    text = narrow(text.replace(prompt, "\n")).replace(",", ", ")
    return clean(text).lower()


def find_list(text: str, problem: Problem) -> Found:
    """The one list that is boxed or tagged, else stated ("the answer is"), else what comes after the last
    separator of the last sentence that names two items; other lists as long as the one asked for must not
    stand before it. One spelling: "7, 19, 42"."""
    spaced = _spaced(text, problem.prompt)
    marked_ = [clean(content).lower() for content in tagged(narrow(text))] or BOXED.findall(spaced)
    if marked_:
        return distinct(_joined(content, problem) or "nothing" for content in marked_)
    lines = sentences(spaced)
    said = [_joined(tail, problem) for line in lines for tail in STATEMENT.split(line)[1:]]
    if any(said):
        return distinct(found for found in said if found)
    named = [found for line in lines if (found := _last_named(line, problem))]
    whole = [found for found in named[:-1] if len(found) >= len(problem.hidden["items"])]
    return distinct(", ".join(found) for found in (*whole, *named[-1:]))


def _last_named(line: str, problem: Problem) -> list[str]:
    """The items after the line's last separator that has two of them after it."""
    pieces = (_items(piece, problem) for piece in reversed(SEPARATOR.split(line)))
    return next((items for items in pieces if len(items) > 1), [])


def _joined(text: str, problem: Problem) -> str:
    return ", ".join(_items(text, problem))


def _items(text: str, problem: Problem) -> list[str]:
    """Every number; of words those that were to be sorted."""
    if problem.hidden["kind"] == "numbers":
        return NUMBER.findall(text)
    return [word for word in WORD.findall(text) if word in problem.hidden["items"]]


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """Two neighbours change places."""
    ordered = problem.hidden["answer"].split(", ")
    at = rng.randrange(len(ordered) - 1)
    ordered[at], ordered[at + 1] = ordered[at + 1], ordered[at]
    return _solution(list(problem.hidden["items"]), ordered)


def habit(problem: Problem) -> Reply:
    """Numbers are sorted as if they were words (19 before 7), words by their length."""
    items, down = list(problem.hidden["items"]), problem.hidden["order"] == "down"
    ordered = sorted(items) if problem.hidden["kind"] == "numbers" else sorted(items, key=len)
    return _solution(items, ordered[::-1] if down else ordered)
