"""What an evaluation gives back: the score with all that qualifies it, and the replies behind it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.errors import BadInput
from shoestring.evals.calibration import Calibration
from shoestring.evals.server_facts import ServerFacts
from shoestring.evals.shape import Shape, summarise_shape
from shoestring.evals.statistics import Estimate, Interval, pass_at_k, pass_table, wilson_clustered
from shoestring.evals.worth import Worth
from shoestring.tasks.base import Outcome
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


@dataclass(frozen=True)
class Item:
    """One sampled reply. problem and sample name it, so that two models' rows can be paired."""

    problem: str
    sample: int
    prompt: str
    gold: str
    reply: str
    outcome: str
    detail: str
    prompt_tokens: int
    tokens: int
    finish_reason: str
    tool_calls: int = 0
    format: float = 0.0
    language_thinking: float | None = None
    language_answer: float | None = None
    disagreed: bool = False  # the scorer's two readers differed
    confidence: float | None = None  # as it stated it when asked; None: it wasn't, or it didn't
    confidence_said: str = ""  # what it said to that


@dataclass(frozen=True)
class EvalResult:
    """correct counts replies of n problems times k samples; score is its share, for k > 1 the mean accuracy.
    truncated and unparsed count replies, tokens is the mean length of one."""

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
            "settings": {**asdict(self.settings), "tools": list(self.settings.tools)},
            "outcomes": self.outcomes,
            "pass_at_k": self.pass_at_k,
            "lower_bound": self.lower_bound,
            "pass_at": {
                str(k): [found.value, found.ci95.low, found.ci95.high] for k, found in self.pass_at.items()
            },
            "shape": asdict(self.shape),
            "disagreements": [f"{item.problem}/{item.sample}" for item in self.items if item.disagreed],
            **({"server": self.server.to_json()} if self.server else {}),
            **({"calibration": self._calibration_json()} if self.confidence_asked else {}),
            **({"worth": self.worth.to_json()} if self.worth else {}),
        }

    def _calibration_json(self) -> dict[str, Any] | None:
        return self.calibration.to_json() if self.calibration else None

    def line(self) -> str:
        """The score as it is printed: never without its interval, n, and what was cut or not understood."""
        low, high = 100 * self.ci95.low, 100 * self.ci95.high
        score = f"{100 * self.score:.1f} % [{low:.1f}, {high:.1f}]"
        if self.lower_bound:
            score = (
                f"at least {score} (a lower bound: {self.truncated} of {self.n * self.k} replies were cut)"
            )
        parts = [f"{self.suite}: {score}", f"n = {self.n}", f"unparsed {self.unparsed}"]
        if self.k > 1:
            parts[1:1] = [f"pass@{k} {self.pass_at[k]}" for k in (1, self.k)]
        lost = self.outcomes[Outcome.TIMEOUT.value] + self.outcomes[Outcome.ERROR.value]
        if lost:
            parts.append(f"{lost} not judged (timeout or error) and counted as not right")
        if self.outcomes[Outcome.OPEN.value]:
            parts.append(f"{self.outcomes[Outcome.OPEN.value]} replies to open prompts and not counted")
        if self.settings.tools:
            calls = sum(item.tool_calls for item in self.items) / len(self.items)
            parts.append(f"{calls:.2f} tool calls a reply ({', '.join(self.settings.tools)})")
        return ", ".join([*parts, f"{self.tokens:.0f} tokens a reply"])

    def more_lines(self) -> list[str]:
        """What is known beside the score: of a server, of stated confidence, of what a right answer takes."""
        told = self.server.lines() if self.server else []
        if self.confidence_asked:
            found = self.calibration
            told.append(found.line() if found else f"confidence: stated in none of {len(self.items)} replies")
        return told + ([self.worth.line()] if self.worth else [])

    def save_items(self, path: Path) -> None:
        """One row a reply, in (problem, sample) order, whole or absent."""
        temporary = path.with_name(f".{path.name}.tmp")
        pq.write_table(pa.Table.from_pylist([asdict(item) for item in self.items]), temporary)
        temporary.replace(path)


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
    )
