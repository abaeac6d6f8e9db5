"""What the report says, in order."""

from collections.abc import Iterator

from shoestring.report.audits import audit_blocks
from shoestring.report.blocks import Block, Browser, Bullets, Code, Heading, Plots, Samples, Table, Text
from shoestring.report.costs import bill_blocks
from shoestring.report.curves import plots
from shoestring.report.results import chat_blocks, identity_blocks, score_blocks
from shoestring.report.rollout_page import RULE as PAGE_RULE
from shoestring.report.run_report import RunReport
from shoestring.report.samples import KINDS, OPEN, RULE, kind_of
from shoestring.report.stages import stage_blocks

WORDS = {OPEN: "to open prompts, which have no right answer"}


def title(report: RunReport) -> str:
    return f"{report.name}: what was trained, what it can do, what it cost"


def document(report: RunReport) -> Iterator[Block]:
    if report.description:
        yield Text(report.description)
    yield Text(f"The base: {report.base}.")
    if report.lacking:
        yield Heading("What this run does not show")
        yield Bullets(report.lacking)
    yield from stage_blocks(report)
    yield from score_blocks(report)
    yield from chat_blocks(report)
    yield from identity_blocks(report)
    yield from audit_blocks(report.audits)
    yield from _findings(report)
    yield from _curves(report)
    yield from _samples(report)
    yield from bill_blocks(report)
    yield Heading("How it was made")
    yield Code(report.command)
    yield Text(f"Seeds: {_seeds(report)}.")
    for unit in report.units:
        yield Code(unit.settings.strip(), f"Settings of {unit.number}. {unit.title}")
    yield Table(("environment", ""), tuple(report.environment.items()), words=(0, 1))
    yield Heading("Talk to it")
    yield Code(report.chat_command)


def _findings(report: RunReport) -> Iterator[Block]:
    if not report.findings:
        return
    yield Heading("What the training said of itself")
    rows = tuple((f.unit.title, str(f.step or "before"), f.name, f.text) for f in report.findings)
    yield Table(("stage", "step", "", ""), rows, words=(0, 2, 3))


def _curves(report: RunReport) -> Iterator[Block]:
    drawn = plots(report.curves)
    if drawn:
        yield Heading("Curves")
    for stage, several in drawn.items():
        yield Plots(stage, tuple(several))


def _samples(report: RunReport) -> Iterator[Block]:
    if not report.samples:
        return
    yield Heading("What it wrote while it was trained")
    if report.rollouts:
        yield Bullets(tuple(page.line for page in report.rollouts))
        yield Text(PAGE_RULE)
        yield Browser(report.rollouts)
        yield Text("All that is kept, on the terminal:")
        yield Code(report.rollouts_command)
    yield Text(RULE)
    for unit in dict.fromkeys(sample.unit for sample in report.samples):
        if unit.job == "pretrain":
            own = tuple(s for s in report.samples if s.unit == unit)
            yield Samples(f"{unit.title}: {len(own)} continuations of held-out documents", own)
            continue
        for kind in KINDS:
            own = tuple(s for s in report.samples if s.unit == unit and kind_of(s.outcome) == kind)
            if own or kind != OPEN:
                yield Samples(f"{unit.title}: {len(own)} {WORDS.get(kind, kind)}", own)


def _seeds(report: RunReport) -> str:
    own = [f"{unit.seed}" for unit in report.units if unit.seed is not None]
    evals = [f"{score.seed}" for score in report.scores]
    parts = [f"units {', '.join(dict.fromkeys(own))}"] if own else ["as in the settings of each stage"]
    return "; ".join([*parts, *([f"problems drawn with {', '.join(dict.fromkeys(evals))}"] if evals else [])])
