"""Kept replies judged again, without a model: a scorer that changed, or one that is doubted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shoestring.errors import BadInput
from shoestring.evals.item import Item
from shoestring.evals.kept import Kept
from shoestring.evals.marking import gold_text
from shoestring.evals.receipt import make_receipt
from shoestring.evals.result import Asking, EvalResult, summarise
from shoestring.tasks.base import Problem
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply


@dataclass(frozen=True)
class Changed:
    """A verdict that is another one now."""

    item: Item
    outcome: str
    detail: str

    def line(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.item.problem}/{self.item.sample}: {self.item.outcome}, now {self.outcome}{detail}"

    def to_json(self) -> dict[str, Any]:
        one = self.item
        named = {"problem": one.problem, "sample": one.sample, "was": one.outcome, "is": self.outcome}
        return {**named, "detail": self.detail, "gold": one.gold, "reply": one.reply}


@dataclass(frozen=True)
class Rescored:
    kept: Kept
    result: EvalResult
    changed: tuple[Changed, ...]


def rescore(kept: Kept, judge: Judge, k: int | None = None, suite: str | None = None) -> Rescored:
    """Judge the kept replies, or the first k of each problem. `suite`: where its file lies now. Raises
    BadInput where k is above what was drawn, or the suite's problems are other ones."""
    receipt = kept.receipt
    k = receipt.k if k is None else k
    if not 1 <= k <= receipt.k:
        raise BadInput(
            f"{kept.path.name}: {receipt.k} replies were drawn of each problem, so k = {k} can't be told"
        )
    problems = _problems(kept, suite or receipt.suite)
    items = [item for item in kept.items if item.sample < k]
    named = {f"{item.problem}/{item.sample}": item for item in items}
    asked = [(name, problems[i.problem], Reply(i.reasoning, i.answer, i.cut)) for name, i in named.items()]
    verdicts = judge.score(asked, lenient=bool(receipt.asking["lenient"]))
    again = [
        replace(
            item,
            outcome=verdicts[name].outcome.value,
            detail=verdicts[name].detail,
            said=verdicts[name].said,
            parts=dict(verdicts[name].parts),
            disagreed=bool(verdicts[name].parts.get("disagreed")),
        )
        for name, item in named.items()
    ]
    changed = tuple(
        Changed(was, now.outcome, now.detail)
        for was, now in zip(items, again, strict=True)
        if was.outcome != now.outcome
    )
    asking = asking_of(receipt.asking)
    result = summarise(receipt.suite, k, receipt.seed, asking, again, kept.values["seconds"])
    made = make_receipt(receipt.suite, k, receipt.seed, receipt.asking, receipt.made, again)
    return Rescored(kept, replace(result, receipt=made), changed)


def asking_of(values: dict[str, Any] | Any) -> Asking:
    return Asking(**{**values, "tools": tuple(values["tools"])})


def _problems(kept: Kept, suite: str) -> dict[str, Problem]:
    """The same draw again. A file that was mended, or a family whose code changed, draws others."""
    receipt = kept.receipt
    asked: dict[str, Item] = {item.problem: item for item in kept.items}
    drawn = draw_problems(parse_suite(suite), "test", len(asked), receipt.seed)
    found = {problem.id: problem for problem in drawn}
    other = _other(asked, found)
    if other:
        first = asked[other[0]]
        raise BadInput(
            f"{kept.path.name}: {len(other)} of {len(asked)} problems of {suite} are not those that were "
            f"asked, first {first.problem} ({first.prompt[:60]!r}); name the suite's file with --suite if it "
            "was moved"
        )
    return found


def _other(asked: dict[str, Item], found: dict[str, Problem]) -> Sequence[str]:
    return [
        name
        for name, item in asked.items()
        if name not in found or found[name].prompt != item.prompt or gold_text(found[name]) != item.gold
    ]
