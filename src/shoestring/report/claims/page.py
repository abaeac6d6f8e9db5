"""The page of the claims: one table in the file's order whatever came of each, then each on its own. Every
sentence with a figure follows from the figures by rule; nobody writes a verdict."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from shoestring.report.blocks import Block, Bullets, Code, Heading, Plots, Ranges, Table, Text
from shoestring.report.claims.claim import Outcome, Result, counted
from shoestring.report.claims.finding import FIXED, StudyFinding
from shoestring.report.claims.found import FAILS, HOLDS, NOT_RUN, OPEN, Verdict
from shoestring.report.claims.sources import StudySource
from shoestring.report.claims.training import TrendFinding
from shoestring.report.curves import DRAWN, Plot
from shoestring.report.html import html_page
from shoestring.report.markdown import page
from shoestring.report.ranges import Range

TITLE = "The claims, re-tested at this scale"
COMMAND = "shoestring claims --scale laptop"
ORDER: tuple[Verdict, ...] = (HOLDS, FAILS, OPEN, NOT_RUN)
ABOUT = (
    "What the papers of DeepSeek and the press of early 2025 claim, each as an experiment that two processor "
    "cores can run: with a control, several seeds, an interval, and a bound that stands in claims.toml. "
    "A model of 8 or 135 million parameters is not one of 671 billion: what holds here may not hold there, "
    "and the other way round."
)
RULE = (
    "A finding holds only where its whole 95 % interval lies inside what is claimed, and does not hold only "
    "where it lies wholly outside; else nothing can be told at this scale. Where chance has a part in a "
    "finding its p value, with Holm's correction over all findings of the file (those not run yet included), "
    "has to be below 0.05 as well. A claim holds only with all of its findings, and does not hold where one "
    "of them doesn't. Without an interval there is no verdict. A finding that has another rule says so."
)


def render_markdown(outcomes: Sequence[Outcome], studies: Mapping[str, StudySource], home: Path) -> str:
    return page(TITLE, document(outcomes, studies, home))


def render_html(outcomes: Sequence[Outcome], studies: Mapping[str, StudySource], home: Path) -> str:
    return html_page(TITLE, TITLE, document(outcomes, studies, home))


def document(outcomes: Sequence[Outcome], studies: Mapping[str, StudySource], home: Path) -> Iterator[Block]:
    """`studies`: those that a finding was read from."""
    yield Text(ABOUT)
    yield Text(RULE)
    yield Text(f"{summary(outcomes)}.")
    yield table(outcomes)
    for outcome in outcomes:
        yield from _claim(outcome, studies)
    yield Heading("How it was made")
    yield Code(COMMAND)
    yield Text("The studies that it was read from, on which machine and with which versions:")
    rows = tuple((name, _place(source, home), *_machine(source)) for name, source in studies.items())
    yield Table(("study", "read from", "command", "machine", "versions"), rows, words=(0, 1, 2, 3, 4))


def summary(outcomes: Sequence[Outcome]) -> str:
    """'Of 18 claims, 3 hold here, ...'."""
    counts = counted(outcomes)
    words = {HOLDS: "hold here", FAILS: "do not hold here", OPEN: "can't be told at this scale"}
    words[NOT_RUN] = "are not run yet"
    told = [f"{counts[verdict]} {words[verdict]}" for verdict in ORDER if verdict in counts]
    return f"Of {len(outcomes)} claims, {', '.join(told)}"


def table(outcomes: Sequence[Outcome]) -> Table:
    """A row a finding; what is said of the claim as a whole stands in its first."""
    rows = []
    for outcome in outcomes:
        settings = outcome.claim.settings
        told = f"{settings.published}. Control: {settings.control}"
        for i, result in enumerate(outcome.results):
            name, verdict, beside = ("", "", "") if i else (settings.name, outcome.verdict, told)
            rows.append((name, verdict, result.finding.says, *_figures(result), beside))
    figures = ("value [95 %]", "claimed", "n", "seeds or rounds")
    header = ("claim", "verdict", "finding", *figures, "published, and the control here")
    return Table(header, tuple(rows), words=(0, 1, 2, 4, 7))


def _figures(result: Result) -> tuple[str, str, str, str]:
    claimed = result.finding.claimed
    if result.found is None:
        return NOT_RUN, claimed, "", ""
    value = _range(result).text + (", no 95 % interval" if result.finding.rule else "")
    return value, claimed, f"{result.found.n}", f"{result.found.seeds}"


def _claim(outcome: Outcome, studies: Mapping[str, StudySource]) -> Iterator[Block]:
    settings = outcome.claim.settings
    yield Heading(f"{settings.name}: {outcome.verdict}")
    yield Text(settings.says)
    yield Bullets(
        (
            f"Published: {settings.published}",
            f"Control: {settings.control}",
            *([settings.note] if settings.note else []),
        )
    )
    measured = [result for result in outcome.results if result.found is not None]
    if measured:
        yield Ranges(tuple(map(_range, measured)))
    yield Bullets(tuple(map(sentence, outcome.results)))
    yield from _curves(outcome, studies)
    for command in outcome.commands:
        yield Code(command)


def sentence(result: Result) -> str:
    """What one finding says, in words."""
    finding, found = result.finding, result.found
    start = f"{'Premise: ' if finding.premise else ''}{finding.says}: claimed {finding.claimed}"
    if found is None:
        return f"{start}; {NOT_RUN} ({finding.where})."
    each = ", ".join(map(finding.show, found.each)) if found.seeds > 1 else ""
    told = [f"{start}; found {_range(result).text}"]
    told += [f"each {each}"] if each else []
    told += [found.method]
    told += [finding.rule] if finding.rule else []
    told += [f"p = {_p(result.adjusted)}"] if result.p is not None and result.adjusted is not None else []
    source = f"({finding.where}; the bound was fixed {FIXED[finding.fixed]}.)"
    return f"{'; '.join(told)}: {result.verdict}. {source}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 else "under 0.0001"


def _range(result: Result) -> Range:
    found, finding = result.found, result.finding
    assert found is not None
    bound, interval = finding.bound, found.ci95
    return Range(
        title=f"{finding.says} (claimed {finding.claimed})",
        value=found.value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        bound_low=bound.low,
        bound_high=bound.high,
        show=finding.show,
    )


def _curves(outcome: Outcome, studies: Mapping[str, StudySource]) -> Iterator[Block]:
    """Of what moves while RL runs, the way that it took."""
    drawn = {}
    for result in outcome.results:
        finding = result.finding
        if isinstance(finding, TrendFinding) and result.found is not None:
            curves = finding.curves(studies[finding.study].report)
            drawn[finding.study, finding.metric] = (*drawn.get((finding.study, finding.metric), ()), *curves)
    for (study, metric), curves in drawn.items():
        yield Plots(study, (Plot(DRAWN[metric], tuple(dict.fromkeys(curves))),))


def _place(source: StudySource, home: Path) -> str:
    path = source.path.resolve()
    return path.relative_to(home.resolve()).as_posix() if path.is_relative_to(home.resolve()) else path.name


def _machine(source: StudySource) -> tuple[str, str, str]:
    e = source.environment
    chip = "" if e.get("accelerator", "none") == "none" else f", {e['accelerator']}"
    machine = (
        f"{e.get('cpu', 'not known')}, {e.get('cores', '?')} cores, {e.get('memory_gib', '?')} GiB{chip}"
    )
    return source.command, machine, f"Python {e.get('python', '?')}, {e.get('packages', 'not known')}"


def to_json(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    return [
        {
            "name": outcome.claim.name,
            "says": outcome.claim.settings.says,
            "verdict": outcome.verdict,
            "published": outcome.claim.settings.published,
            "control": outcome.claim.settings.control,
            "findings": [_result_values(result) for result in outcome.results],
        }
        for outcome in outcomes
    ]


def _result_values(result: Result) -> dict[str, object]:
    finding, found = result.finding, result.found
    values: dict[str, object] = {
        "says": finding.says,
        "unit": finding.unit,
        "claimed": finding.claimed,
        "where": finding.where,
        "fixed": finding.fixed,
        "premise": finding.premise,
        "verdict": result.verdict,
        **({"rule": finding.rule} if finding.rule else {}),
        **({"study": finding.study} if isinstance(finding, StudyFinding) else {}),
    }
    if found is None:
        return values | {"command": result.command}
    return values | {
        "value": found.value,
        "ci95": [found.ci95.low, found.ci95.high] if found.ci95 else None,
        "n": found.n,
        "seeds": found.seeds,
        "each": list(found.each),
        "method": found.method,
        "p": result.p,
        "p_holm": result.adjusted if result.p is not None else None,
    }
