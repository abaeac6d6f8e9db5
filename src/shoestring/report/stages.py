"""The table of a pipeline's stages: one column a model, in the order in which they were made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from shoestring.evals.shape import Shape
from shoestring.evals.statistics import Estimate, Interval, bootstrap_families, widened
from shoestring.report.blocks import Block, Heading, Table, Text, percent
from shoestring.report.compare import by_seed
from shoestring.report.costs import quantity
from shoestring.report.run_report import RunReport, Stages
from shoestring.report.scores import Score
from shoestring.run.progress import duration

NOTE = (
    "Accuracy on held-out problems, all seeds of a model together, with 95 % intervals (one seed: of "
    "the score; several: bootstrap over seeds and problems). The mean weighs the suites alike; below it"
    " are those that are not in it. How a model replies is the mean over the averaged suites. In the "
    "thinking format: one thinking, closed, and an answer after it. Mixes languages: under 90 % of the "
    "words of the thinking or of the answer are in the problem's language, among replies long enough to"
    " tell. Chat prompts answered: the reply ends by itself, says something and does not loop. What a "
    "model took is of the stages that made it and none before it, for one seed, evals not counted."
)
FORM: tuple[tuple[str, Callable[[Shape], float | None], bool], ...] = (
    ("in the thinking format", lambda shape: shape.format, True),
    ("mixes languages", lambda shape: shape.mixed, True),
    ("no answer found", lambda shape: shape.unparsed, True),
    ("cut", lambda shape: shape.cut, True),
    ("tokens a reply", lambda shape: shape.tokens, False),
    ("tokens when right", lambda shape: shape.tokens_right, False),
    ("tokens when not", lambda shape: shape.tokens_wrong, False),
)


def stage_blocks(report: RunReport) -> Iterator[Block]:
    if report.stages is not None:
        yield Heading("Stage by stage")
        yield stage_table(report, report.stages)
        yield Text(NOTE)


def stage_table(report: RunReport, stages: Stages) -> Table:
    columns = [_column(report, model) for model in stages.models]
    asked = list(dict.fromkeys(suite for column in columns for suite in column.suites))
    averaged = [s for s in stages.suites or asked if s not in stages.harder]
    beside = [s for s in asked if s not in averaged and s not in stages.harder]
    rows: list[tuple[str, ...]] = [
        (suite, *(column.accuracy([suite]) for column in columns)) for suite in averaged
    ]
    mean = len(rows)
    rows.append((f"mean of {len(averaged)}", *(column.accuracy(averaged) for column in columns)))
    rows += [
        (f"{suite} ({word})", *(column.accuracy([suite]) for column in columns))
        for several, word in ((stages.harder, "harder"), (beside, "not in the mean"))
        for suite in several
    ]
    rows += [(name, *cells) for name, cells in _beside_right(columns, averaged)]
    answered = tuple("" if c.answered is None else percent(c.answered) for c in columns)
    rows += [("chat prompts answered", *answered)] if any(answered) else []
    rows += _costs(report, stages)
    return Table(("", *stages.models), tuple(rows), strong=frozenset({mean}))


@dataclass(frozen=True)
class Column:
    """One model: its scores by suite, one a seed."""

    suites: dict[str, dict[int | None, Score]]
    answered: float | None  # of the chat prompts, the mean over its seeds

    def of(self, suites: Sequence[str]) -> list[Score]:
        return [score for suite in suites for score in self.suites.get(suite, {}).values()]

    def accuracy(self, suites: Sequence[str]) -> str:
        """The mean over suites of the mean over seeds, "" where one is not finished. Without its interval
        where the replies weren't kept."""
        several = [self.suites.get(suite, {}) for suite in suites]
        if not several or not all(several) or any(own.keys() != several[0].keys() for own in several):
            return ""
        scores = self.of(suites)
        value = fmean(fmean(score.score for score in own.values()) for own in several)
        found = scores[0].ci95 if len(scores) == 1 else _interval(several, value)
        text = str(Estimate(value, found)) if found else percent(value)
        return f"at least {text}" if any(score.lower_bound for score in scores) else text


def _interval(several: Sequence[Mapping[int | None, Score]], value: float) -> Interval | None:
    families = []
    for own in several:
        problems = next(iter(own.values())).marks
        if not problems or any(score.marks.keys() != problems.keys() for score in own.values()):
            return None
        families.append(np.array([[own[s].marks[p] for p in problems] for s in several[0]]))
    interval, _ = bootstrap_families(families, seed=0)
    return widened(interval, value, sum(own.shape[1] for own in families))


def _column(report: RunReport, model: str) -> Column:
    label, _, arm = model.partition("/")
    found = {
        suite: by_seed(report.scores, model, suite)
        for suite in dict.fromkeys(score.suite for score in report.scores)
    }
    chats = [c for c in report.chats if c.label == label and c.unit.arm == arm and c.answered is not None]
    answered = [c.answered for c in chats if c.answered is not None]
    return Column({s: own for s, own in found.items() if own}, fmean(answered) if answered else None)


def _beside_right(columns: Sequence[Column], suites: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Rows of what is not accuracy; those that say nothing of any model are left out."""
    sizes = {k for column in columns for score in column.of(suites) for k in score.pass_at if k != "1"}
    for k in sorted(sizes, key=int):
        chances = [[score.pass_at[k].value for score in c.of(suites) if k in score.pass_at] for c in columns]
        yield f"pass@{k}", [percent(fmean(own)) if own else "" for own in chances]
    for name, figure, is_share in FORM:
        known = [
            [value for s in c.of(suites) if s.shape is not None and (value := figure(s.shape)) is not None]
            for c in columns
        ]
        if any(known):
            yield (
                name,
                [(percent(fmean(v)) if is_share else f"{fmean(v):.0f}") if v else "" for v in known],
            )


def _costs(report: RunReport, stages: Stages) -> Iterator[tuple[str, ...]]:
    bill, costs = report.bill, stages.costs
    yield "made by", *(", ".join(cost.stages) or "nothing more" for cost in costs)
    yield "time", *(duration(cost.used.seconds) for cost in costs)
    yield "tokens of work", *(quantity(cost.used.tokens) for cost in costs)
    yield "USD", *(f"{bill.usd(cost.used):.4f}" for cost in costs)
    yield (
        "of the time spent on nothing",
        *(percent(c.wasted.seconds / c.used.seconds) if c.used.seconds else "" for c in costs),
    )
