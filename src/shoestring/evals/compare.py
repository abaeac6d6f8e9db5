"""Two kept evaluations beside each other: is one better, which problems flipped, what was set otherwise."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from shoestring.errors import BadInput
from shoestring.evals.item import Item
from shoestring.evals.kept import Kept
from shoestring.evals.paired import paired_marks, verdict_of
from shoestring.evals.receipt_difference import differences, explain_tokens
from shoestring.evals.result import TRUNCATED_LIMIT
from shoestring.evals.statistics import PairedDifference, holm


@dataclass(frozen=True)
class Flipped:
    """A problem of which one side has more right: the first reply of each that says so."""

    problem: str
    a: Item
    b: Item

    @property
    def to_a(self) -> bool:
        return self.a.outcome == "right"

    def to_json(self) -> dict[str, Any]:
        sides = {
            side: {"outcome": item.outcome, "detail": item.detail, "reply": item.reply}
            for side, item in (("a", self.a), ("b", self.b))
        }
        return {"problem": self.problem, "prompt": self.a.prompt, "gold": self.a.gold, **sides}


@dataclass(frozen=True)
class Compared:
    """pair: A less B. settings: in what they were asked otherwise, the first to look at first."""

    a: Kept
    b: Kept
    pair: PairedDifference
    flipped: tuple[Flipped, ...]
    settings: tuple[str, ...]
    tokens: str
    adjusted: float | None = None  # p by Holm, where several suites were compared

    @property
    def verdict(self) -> str:
        """Of A."""
        loser, name = (self.b, "B") if self.pair.difference > 0 else (self.a, "A")
        share = sum(item.finish_reason != "stop" for item in loser.items) / len(loser.items)
        cut = {name: share} if share > TRUNCATED_LIMIT else {}
        p = self.pair.p_value if self.adjusted is None else self.adjusted
        return verdict_of(self.pair.difference, self.pair.ci95, p, name, cut)

    def line(self) -> str:
        low, high = 100 * self.pair.ci95.low, 100 * self.pair.ci95.high
        holm = "" if self.adjusted is None else f", {self.adjusted:.3g} with Holm's correction"
        return (
            f"{self.a.receipt.suite}: A {self.a.name} less B {self.b.name}: "
            f"{100 * self.pair.difference:+.1f} points [{low:+.1f}, {high:+.1f}], "
            f"p {self.pair.p_value:.3g}{holm}, n = {self.pair.n}, {self.pair.only_a} fall to A and "
            f"{self.pair.only_b} to B: {self.verdict}"
        )

    def to_json(self) -> dict[str, Any]:
        pair = asdict(self.pair)
        pair["ci95"] = [self.pair.ci95.low, self.pair.ci95.high]
        return {
            "suite": self.a.receipt.suite,
            "a": str(self.a.path),
            "b": str(self.b.path),
            **pair,
            "adjusted": self.adjusted,
            "verdict": self.verdict,
            "settings": list(self.settings),
            "tokens": self.tokens,
            "flipped": [one.to_json() for one in self.flipped],
        }


def compare_all(a: Sequence[Kept], b: Sequence[Kept]) -> list[Compared]:
    """Suite by suite, those that both sides have; several get Holm's correction. Raises BadInput where no
    suite is common, or one side has several evaluations of it."""
    sides = [_by_suite(side) for side in (a, b)]
    common = [suite for suite in sides[0] if suite in sides[1]]
    if not common:
        told = " and ".join(", ".join(side) for side in sides)
        raise BadInput(f"nothing to compare: A has {told.replace(' and ', ', B has ', 1)}")
    found = [compare(sides[0][suite], sides[1][suite]) for suite in common]
    if len(found) == 1:
        return found
    adjusted = holm({str(i): one.pair.p_value for i, one in enumerate(found)})
    return [replace(one, adjusted=adjusted[str(i)]) for i, one in enumerate(found)]


def compare(a: Kept, b: Kept) -> Compared:
    """Raises BadInput where the problems, or their right answers, aren't the same."""
    golds = [{item.problem: item.gold for item in side.items} for side in (a, b)]
    if golds[0] != golds[1]:
        only = [len(golds[0].keys() - golds[1].keys()), len(golds[1].keys() - golds[0].keys())]
        first = next((f"; {line}" for line in differences(a.receipt, b.receipt)), "")
        raise BadInput(
            f"{a.receipt.suite}: the problems differ ({only[0]} only in A, {only[1]} only in B), so nothing "
            f"pairs{first}"
        )
    marks = a.marks, b.marks
    problems = [problem for problem in marks[0] if problem in marks[1]]
    single = a.receipt.k == b.receipt.k == 1
    pair = paired_marks([marks[0][p] for p in problems], [marks[1][p] for p in problems], single)
    flipped = [_flip(p, a, b, marks[0][p] > marks[1][p]) for p in problems if marks[0][p] != marks[1][p]]
    settings = tuple(differences(a.receipt, b.receipt))
    return Compared(a, b, pair, tuple(flipped), settings, explain_tokens(a.receipt, b.receipt))


def _flip(problem: str, a: Kept, b: Kept, to_a: bool) -> Flipped:
    def first(side: Kept, right: bool) -> Item:
        return next(i for i in side.items if i.problem == problem and (i.outcome == "right") == right)

    return Flipped(problem, first(a, to_a), first(b, not to_a))


def _by_suite(side: Sequence[Kept]) -> dict[str, Kept]:
    found: dict[str, Kept] = {}
    for one in side:
        if one.receipt.suite in found:
            raise BadInput(
                f"{one.path.parent} has several evaluations of {one.receipt.suite}: name one's JSON file, "
                f"such as {one.path}"
            )
        found[one.receipt.suite] = one
    return found
