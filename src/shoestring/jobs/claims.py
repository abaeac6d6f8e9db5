"""Re-test the published claims: run what is missing of their studies, read what each finding came to, and set
it beside the published figure."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field
from rich.console import Console
from rich.table import Table

from shoestring.errors import BadInput, Interrupted
from shoestring.jobs.claims_file import HOME, pick, read_claims
from shoestring.jobs.claims_small import prune
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe import run
from shoestring.jobs.recipe_units import JobTable
from shoestring.report.claims.claim import Claim, Outcome, measure
from shoestring.report.claims.finding import Finding, Needs, StudyFinding
from shoestring.report.claims.found import NOT_RUN
from shoestring.report.claims.page import render_html, render_markdown, summary, to_json
from shoestring.report.claims.sources import Missing, Sources, StudySource
from shoestring.run import write_atomic
from shoestring.settings import Settings, read_toml

MECHANICS = "Small scale: it shows that every experiment runs and is read, and nothing about any claim."


class ClaimsSettings(Settings):
    scale: Literal["", "small", "laptop"] = ""  # "": read what there is, run nothing
    anew: bool = False  # studies that have a committed result are run all the same
    only: tuple[str, ...] = ()
    output_dir: Path = Path("runs/claims")  # where studies are run, and the page of all claims is written
    page: Path | None = None  # where it is written as well: FILE.md, and FILE.html beside it
    file: Path = Field(default_factory=lambda: HOME / "claims" / "claims.toml")

    @property
    def command(self) -> str:
        words = ["shoestring", "claims"]
        words += ["--scale", self.scale] if self.scale else []
        words += ["--anew"] if self.anew else []
        for name in self.only:
            words += ["--only", name]
        return shlex.join([*words, "--output-dir", str(self.output_dir)])


def main(
    settings: ClaimsSettings, console: Console, jobs: JobTable = JOBS, home: Path = HOME
) -> dict[str, Any]:
    """Raises BadInput before anything runs, and Interrupted with the line that goes on."""
    claims = read_claims(settings.file, home)
    picked = pick(claims, settings.only)
    if settings.page is not None and (settings.page.suffix != ".md" or not settings.page.parent.is_dir()):
        raise BadInput(f"--page {settings.page}: a .md file in a folder that is there")
    if settings.page is not None and (settings.only or settings.scale == "small"):
        raise BadInput("--page: the page has the verdicts of all claims; leave out --only and --scale small")
    if settings.anew and settings.scale != "laptop":
        raise BadInput("--anew runs studies: it goes with --scale laptop")
    if settings.scale == "small":
        return _mechanics(settings, picked, console, jobs, home)
    fresh = {study for claim in picked for study in claim.studies} if settings.anew else ()
    sources = Sources(home, settings.output_dir, fresh)
    if settings.scale == "laptop":
        _run_missing(settings, picked, sources, console, jobs)
    names = {claim.name for claim in picked}
    outcomes = [outcome for outcome in measure(claims, sources) if outcome.claim.name in names]
    studies = _read_from(outcomes, sources)
    if not settings.only:
        _write(settings, outcomes, studies, home)
    _show(outcomes, console)
    return {
        "summary": summary(outcomes),
        "claims": to_json(outcomes),
        "studies": _studies_values(studies),
    }


def listed(settings: ClaimsSettings, console: Console, home: Path = HOME) -> dict[str, Any]:
    """What there is to test, without testing it."""
    picked = pick(read_claims(settings.file, home), settings.only)
    table = Table(box=None, pad_edge=False)
    for title in ("claim", "read from", "what is claimed"):
        table.add_column(title, overflow="fold")
    for claim in picked:
        where = ", ".join(dict.fromkeys(finding.where for finding in claim.findings))
        table.add_row(claim.name, where, claim.settings.says)
    console.print(table)
    return {"claims": [claim.settings.model_dump() for claim in picked]}


def _run_missing(
    settings: ClaimsSettings, claims: Sequence[Claim], sources: Sources, console: Console, jobs: JobTable
) -> None:
    """Each study that has no result yet, in units that are resumable on their own."""
    for name in dict.fromkeys(study for claim in claims for study in claim.studies):
        try:
            sources.study(name)
        except Missing:
            _run_study(sources.recipe(name), sources.runs / name, settings, console, jobs, "full")


def _run_study(
    recipe: Path,
    target: Path,
    settings: ClaimsSettings,
    console: Console,
    jobs: JobTable,
    scale: Literal["full", "small"],
) -> None:
    try:
        run(recipe, target, resume=True, scale=scale, console=console, jobs=jobs)
    except Interrupted:
        raise Interrupted(f"stopped; what was saved is kept. Go on with: {settings.command}") from None


def _mechanics(
    settings: ClaimsSettings, claims: Sequence[Claim], console: Console, jobs: JobTable, home: Path
) -> dict[str, Any]:
    """Each study cut down to what its findings need, run, and read: no verdict comes of it. Other findings,
    other cuts: they have folders of their own, so that any of them can go on where it was stopped."""
    needs: dict[str, Needs] = {}
    for finding in (f for claim in claims for f in claim.findings if isinstance(f, StudyFinding)):
        needs[finding.study] = needs.get(finding.study, Needs()) | finding.needs
    studies = home / "studies"
    texts = {name: tomli_w.dumps(prune(read_toml(studies / f"{name}.toml"), needs[name])) for name in needs}
    mark = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:8]
    sources = Sources(home, settings.output_dir / f"small-{mark}", fresh=tuple(needs))
    for name, text in texts.items():
        pruned = sources.runs / "recipes" / f"{name}.toml"
        pruned.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(pruned, text)
        _run_study(pruned, sources.runs / name, settings, console, jobs, "small")
    rows = [(claim, finding, _read(finding, sources)) for claim in claims for finding in claim.findings]
    table = Table(box=None, pad_edge=False)
    for title in ("claim", "finding", "mechanics"):
        table.add_column(title, overflow="fold")
    for claim, finding, told in rows:
        table.add_row(claim.name, finding.says, told or "read")
    console.print(table)
    read = sum(not told for _, _, told in rows)
    console.print(f"{read} of {len(rows)} findings read. {MECHANICS}", markup=False)
    return {
        "scale": "small",
        "says": MECHANICS,
        "claims": [
            {"name": claim.name, "finding": finding.says, "read": not told, "why": told}
            for claim, finding, told in rows
        ],
    }


def _read(finding: Finding, sources: Sources) -> str:
    """'' where it can be read, else why not: a few short replies may hold nothing to take a figure from."""
    try:
        finding.measure(sources)
    except Missing as missing:
        return f"{NOT_RUN}: {missing}"
    except BadInput as error:
        return f"nothing to read: {error}"
    return ""


def _read_from(outcomes: Sequence[Outcome], sources: Sources) -> dict[str, StudySource]:
    read = [r.finding for o in outcomes for r in o.results if r.found is not None]
    return {f.study: sources.study(f.study) for f in read if isinstance(f, StudyFinding)}


def _write(
    settings: ClaimsSettings, outcomes: Sequence[Outcome], studies: Mapping[str, StudySource], home: Path
) -> None:
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    markdown, html = render_markdown(outcomes, studies, home), render_html(outcomes, studies, home)
    for page in (settings.output_dir / "claims.md", settings.page):
        if page is not None:
            write_atomic(page, markdown)
            write_atomic(page.with_suffix(".html"), html)


def _show(outcomes: Sequence[Outcome], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("claim", "verdict", "finding", "value [95 %]", "claimed", "seeds"):
        table.add_column(title, overflow="fold")
    for outcome in outcomes:
        for i, result in enumerate(outcome.results):
            name, verdict = ("", "") if i else (outcome.claim.name, outcome.verdict)
            finding, found = result.finding, result.found
            value, seeds = NOT_RUN, ""
            if found is not None:
                ends = (
                    f"[{finding.show(found.ci95.low)}, {finding.show(found.ci95.high)}]" if found.ci95 else ""
                )
                value, seeds = f"{finding.show(found.value)} {ends or 'no interval'}", f"{found.seeds}"
            table.add_row(name, verdict, finding.says, value.replace("[", r"\["), finding.claimed, seeds)
    console.print(table)
    console.print(f"{summary(outcomes)}.", markup=False)
    missing = dict.fromkeys(command for outcome in outcomes for command in outcome.commands)
    for command in missing:
        console.print(f"missing: {command}", markup=False, soft_wrap=True)


def _studies_values(studies: Mapping[str, StudySource]) -> dict[str, Any]:
    return {
        name: {"command": source.command, "environment": source.environment}
        for name, source in studies.items()
    }
