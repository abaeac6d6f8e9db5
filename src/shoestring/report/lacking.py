"""What a reader must not conclude from a run, said by the run's own report."""

from collections.abc import Iterator, Sequence

from shoestring.report.run_report import ChatReport
from shoestring.report.scores import Score, UnitReport

FILES = (".jsonl", ".parquet", ".csv")
ENOUGH = 256  # problems: a standard error of at most 3.1 points


def what_is_lacking(
    units: Sequence[UnitReport],
    scores: Sequence[Score],
    chats: Sequence[ChatReport],
    command: str,
    has_controls: bool,
) -> tuple[str, ...]:
    return tuple(_sentences(units, scores, chats, command, has_controls))


def _sentences(
    units: Sequence[UnitReport],
    scores: Sequence[Score],
    chats: Sequence[ChatReport],
    command: str,
    has_controls: bool,
) -> Iterator[str]:
    if "--scale small" in command:
        yield "This run is at small scale: it shows that the mechanics work and says nothing about learning."
    unfinished = [unit.title for unit in units if not unit.finished]
    if unfinished:
        yield f"Not finished: {', '.join(unfinished)}. What follows is what there is so far."
    if not scores:
        yield "Nothing was evaluated, so nothing is known about what was learnt."
    elif not any(score.is_base for score in scores):
        yield "The base was not evaluated, so no gain can be told."
    few = min((score.n for score in scores), default=ENOUGH)
    if few < ENOUGH:
        error = 100 * (0.25 / few) ** 0.5
        yield f"Some scores rest on {few} problems: their standard error is up to {error:.1f} points."
    bounds = [f"{score.name} on {score.suite}" for score in scores if score.lower_bound and score.best]
    if bounds:
        yield f"Over 5 % of the replies were cut, so these scores are lower bounds: {'; '.join(bounds)}."
    files = sorted({s.suite for s in scores if s.overlap is None and any(end in s.suite for end in FILES)})
    if files:
        yield f"No training texts were searched for the problems of {', '.join(files)} (the eval's against)."
    lost = sum(score.lost for score in scores)
    if lost:
        yield f"{lost} replies were not judged (timeout or error) and count as not right."
    trained = [unit for unit in units if unit.job not in ("eval", "audit")]
    if trained and not any(unit.seed is not None for unit in trained):
        yield "One seed: how far another run would land from this one is not known."
    if any(unit.job == "grpo" for unit in trained) and not any(unit.arm for unit in trained):
        yield (
            "No control arm (random or format-only reward) was run: a gain may have other causes"
            + ("." if has_controls else ", and no model is called learned (--controls runs them).")
        )
    elif any(unit.job == "grpo" for unit in trained) and not has_controls:
        yield "No comparison is named a control (control = true), so no model is called learned."
    if scores and not chats:
        yield "No chat checks were made: whether the models still chat is not known."
    odd = [f"{unit.title}: {unit.nonfinite}" for unit in units if unit.nonfinite]
    if odd:
        yield f"Metric values that were not finite, left out of the curves: {'; '.join(odd)}."
