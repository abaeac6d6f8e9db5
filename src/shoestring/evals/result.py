"""What an evaluation gives back: the score with all that qualifies it, and the replies behind it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from shoestring.errors import BadInput
from shoestring.evals.calibration import Calibration
from shoestring.evals.contamination import Overlap
from shoestring.evals.item import Item, save_items
from shoestring.evals.power import effect_at
from shoestring.evals.receipt import Receipt
from shoestring.evals.server_facts import ServerFacts
from shoestring.evals.shape import Shape, summarise_shape
from shoestring.evals.statistics import (
    Estimate,
    Interval,
    consensus,
    pass_at_k,
    pass_table,
    wilson_clustered,
)
from shoestring.evals.worth import Worth
from shoestring.tasks.base import Outcome
from shoestring.tasks.suite import rows_text
from shoestring.tasks.tools import ToolName

FewShotStyle = Literal["answer", "reasoning"]
TRUNCATED_LIMIT = 0.05  # above this share of cut replies a score only bounds what the model can do


@dataclass(frozen=True)
class Asking:
    """How a model is asked and how strictly it is read: all of it moves the score, so all of it is kept.
    few_shot_style "answer" shows the examples' answers alone, "reasoning" their steps too."""

    max_tokens: int = 256
    temperature: float = 0.0
    few_shot: int = 0
    few_shot_style: FewShotStyle = "answer"
    lenient: bool = False
    system: str | None = None
    tools: tuple[ToolName, ...] = ()
    max_tool_calls: int = 4
    top_p: float = 1.0
    protocol: str = ""  # the published way of asking that these follow, or depart from

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "tools": list(self.tools)}


@dataclass(frozen=True)
class EvalResult:
    """correct counts replies of n problems times k samples; score is its share, for k > 1 the mean accuracy.
    truncated, unparsed and empty count replies, tokens is the mean length of one. cons is cons@k, the share
    of problems whose most common answer is right; None for one sample, or where answers are no votes. means
    are of the verdicts' parts. resolves: the smallest difference between two models that n problems show;
    None where none. left_out: rows of the suite's file that aren't problems, by reason."""

    suite: str
    n: int
    k: int
    seed: int
    correct: int
    score: float
    ci95: Interval
    truncated: int
    unparsed: int
    tokens: float
    seconds: float
    settings: Asking
    outcomes: dict[str, int]
    pass_at_k: float
    pass_at: dict[int, Estimate]  # powers of two up to k, and k; empty for k = 1
    shape: Shape
    items: tuple[Item, ...] = field(repr=False)
    empty: int = 0
    cons: Estimate | None = None
    means: Mapping[str, float] = field(default_factory=dict)
    resolves: float | None = None
    departures: tuple[str, ...] = ()  # from the protocol that was named
    left_out: Mapping[str, Sequence[int]] = field(default_factory=dict)
    overlap: Overlap | None = None  # with what was trained on, where that was named
    receipt: Receipt | None = None
    server: ServerFacts | None = None  # of a model behind an endpoint
    confidence_asked: bool = False
    calibration: Calibration | None = None
    worth: Worth | None = None

    @property
    def lower_bound(self) -> bool:
        return self.truncated > TRUNCATED_LIMIT * self.n * self.k

    def to_json(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "n": self.n,
            "k": self.k,
            "seed": self.seed,
            "correct": self.correct,
            "score": self.score,
            "ci95": [self.ci95.low, self.ci95.high],
            "truncated": self.truncated,
            "unparsed": self.unparsed,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "settings": self.settings.to_json(),
            "outcomes": self.outcomes,
            "pass_at_k": self.pass_at_k,
            "lower_bound": self.lower_bound,
            "pass_at": {
                str(k): [found.value, found.ci95.low, found.ci95.high] for k, found in self.pass_at.items()
            },
            "shape": asdict(self.shape),
            "disagreements": [f"{item.problem}/{item.sample}" for item in self.items if item.disagreed],
            "empty": self.empty,
            "cons_at_k": self.cons and [self.cons.value, self.cons.ci95.low, self.cons.ci95.high],
            "means": dict(self.means),
            "resolves": self.resolves,
            "departures": list(self.departures),
            "left_out": {reason: list(rows) for reason, rows in self.left_out.items()},
            "overlap": self.overlap and self.overlap.to_json(),
            "receipt": self.receipt and self.receipt.to_json(),
            "server": self.server and self.server.to_json(),
            "calibration": self.calibration and self.calibration.to_json(),
            "worth": self.worth and self.worth.to_json(),
        }

    def line(self) -> str:
        """The score as it is printed: never without its interval, n, and what was cut or not understood."""
        low, high = 100 * self.ci95.low, 100 * self.ci95.high
        score = f"{100 * self.score:.1f} % [{low:.1f}, {high:.1f}]"
        if self.lower_bound:
            score = (
                f"at least {score} (a lower bound: {self.truncated} of {self.n * self.k} replies were cut)"
            )
        parts = [f"{self.suite}: {score}", f"n = {self.n}"]
        counts = {"cut": self.truncated, "unparsed": self.unparsed, "empty": self.empty}
        parts += [_counted(name, count, self.n * self.k) for name, count in counts.items()]
        if self.k > 1:
            parts[1:1] = [f"pass@{k} {self.pass_at[k]}" for k in (1, self.k)]
            parts[3:3] = [f"cons@{self.k} {self.cons}"] if self.cons else []
        lost = self.outcomes[Outcome.TIMEOUT.value] + self.outcomes[Outcome.ERROR.value]
        if lost:
            parts.append(f"{lost} not judged (timeout or error) and counted as not right")
        if self.outcomes[Outcome.OPEN.value]:
            parts.append(f"{self.outcomes[Outcome.OPEN.value]} replies to open prompts and not counted")
        if self.settings.tools:
            calls = sum(item.tool_calls for item in self.items) / len(self.items)
            parts.append(f"{calls:.2f} tool calls a reply ({', '.join(self.settings.tools)})")
        return ", ".join([*parts, f"{self.tokens:.0f} tokens a reply"])

    def notes(self) -> list[str]:
        """What belongs beside the line, a line each."""
        notes = [self.shape.line()]
        if "instructions" in self.means:
            notes.append(_instructions(self.means))
        if self.departures:
            notes.append(f"not the {self.settings.protocol} protocol: {', '.join(self.departures)}")
        if self.left_out:
            count = sum(map(len, self.left_out.values()))
            notes.append(f"left out of the file: {count} rows: {rows_text(self.left_out)}")
        if self.overlap is not None:
            notes.append(self.overlap.line())
        few = f"{self.n} problems are too few to show any difference between two models"
        if self.resolves is not None:
            few = (
                f"{self.n} problems show a difference of {100 * self.resolves:.1f} points four times in five"
            )
        return [*notes, few, *self._more_notes()]

    def _more_notes(self) -> list[str]:
        """Of a server, of stated confidence, of what a right answer takes."""
        notes = self.server.lines() if self.server else []
        if self.confidence_asked:
            found = self.calibration
            notes.append(
                found.line() if found else f"confidence: stated in none of {len(self.items)} replies"
            )
        return notes + ([self.worth.line()] if self.worth else [])

    def save_items(self, path: Path) -> None:
        save_items(self.items, path)


def _counted(name: str, count: int, replies: int) -> str:
    return f"{name} {count}" + (f" ({100 * count / replies:.1f} %)" if count else "")


def _instructions(means: Mapping[str, float]) -> str:
    """IFEval's four accuracies, of prompts and of single instructions."""
    each = means["instructions"]
    return (
        f"prompts {100 * means['strict']:.1f} % strict, {100 * means['loose']:.1f} % loose; instructions "
        f"{100 * means['followed'] / each:.1f} % strict, {100 * means['followed_loosely'] / each:.1f} % loose"
    )


def summarise(
    suite: str, k: int, seed: int, asking: Asking, items: Sequence[Item], seconds: float
) -> EvalResult:
    """Counts and intervals of items, which hold k rows of each problem, one problem after another. A problem
    that its scorer calls open is in `outcomes` and in no other figure. Raises BadInput where all are."""
    assert items, suite
    assert len(items) % k == 0, (len(items), k)
    outcomes = Counter(item.outcome for item in items)
    asked = [items[i : i + k] for i in range(0, len(items), k)]
    groups = [group for group in asked if all(item.outcome != Outcome.OPEN for item in group)]
    if not groups:
        raise BadInput(f"suite '{suite}' has no right answers, so a model has no score on it")
    scored = [item for group in groups for item in group]
    right = [sum(item.outcome == Outcome.RIGHT for item in group) for group in groups]
    return EvalResult(
        suite=suite,
        n=len(groups),
        k=k,
        seed=seed,
        correct=sum(right),
        score=sum(right) / len(scored),
        ci95=wilson_clustered(right, k),
        truncated=sum(item.finish_reason != "stop" for item in scored),
        unparsed=sum(item.outcome == Outcome.UNPARSED for item in scored),
        tokens=sum(item.tokens for item in scored) / len(scored),
        seconds=seconds,
        settings=asking,
        outcomes={outcome.value: outcomes[outcome.value] for outcome in Outcome},
        pass_at_k=sum(pass_at_k(k, count, k) for count in right) / len(groups),
        pass_at=pass_table(right, k),
        shape=summarise_shape(scored),
        items=tuple(items),
        empty=sum(item.empty for item in scored),
        cons=_votes(groups) if k > 1 else None,
        means=_means(scored),
        resolves=effect_at(len(groups)),
    )


def _votes(groups: Sequence[Sequence[Item]]) -> Estimate | None:
    answers = [[item.said or None for item in group] for group in groups]
    return consensus(answers, [[item.outcome == Outcome.RIGHT for item in group] for group in groups])


def _means(items: Sequence[Item]) -> dict[str, float]:
    """Of the parts that every verdict has: what only right ones have says nothing as a mean."""
    names = [name for name in items[0].parts if all(name in item.parts for item in items)]
    return {name: sum(item.parts[name] for item in items) / len(items) for name in names}
