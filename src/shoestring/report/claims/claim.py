"""A published claim with the findings that it stands or falls by, and what came of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoestring.errors import BadInput
from shoestring.evals.statistics import holm
from shoestring.report.claims.comparison import ComparisonFinding, MajorityFinding
from shoestring.report.claims.figures import FiguresFinding, PlanFinding, SizeFinding
from shoestring.report.claims.finding import Finding, StudyFinding
from shoestring.report.claims.found import HOLDS, NOT_RUN, OPEN, Found, Verdict, p_value, together
from shoestring.report.claims.rates import RateFinding
from shoestring.report.claims.replies import ReplyFinding
from shoestring.report.claims.sources import Missing, Sources
from shoestring.report.claims.training import ContrastFinding, TrendFinding
from shoestring.settings import Settings, build, nearest

KINDS: dict[str, type[Finding]] = {
    "comparison": ComparisonFinding,
    "majority": MajorityFinding,
    "reply": ReplyFinding,
    "rate": RateFinding,
    "contrast": ContrastFinding,
    "trend": TrendFinding,
    "figures": FiguresFinding,
    "plan": PlanFinding,
    "size": SizeFinding,
}


class ClaimSettings(Settings):
    """[[claim]] without its findings."""

    name: str
    says: str
    published: str  # the figure, with its report and section
    control: str
    note: str = ""  # what the reader must know of how it is tested here


@dataclass(frozen=True)
class Claim:
    settings: ClaimSettings
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def studies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(f.study for f in self.findings if isinstance(f, StudyFinding)))


@dataclass(frozen=True)
class Result:
    """One finding's. found is None where what it is read from isn't there; `command` makes that."""

    finding: Finding
    found: Found | None
    command: str = ""
    p: float | None = None
    adjusted: float | None = None

    @property
    def verdict(self) -> Verdict:
        return self.finding.verdict(self.found, self.adjusted)


@dataclass(frozen=True)
class Outcome:
    claim: Claim
    results: tuple[Result, ...]

    @property
    def verdict(self) -> Verdict:
        """A claim whose premise doesn't hold can't be told of."""
        premises: list[Verdict] = [result.verdict for result in self.results if result.finding.premise]
        if premises and together(premises) not in (HOLDS, NOT_RUN):
            return OPEN
        return together([result.verdict for result in self.results])

    @property
    def commands(self) -> tuple[str, ...]:
        """That make what is missing."""
        return tuple(dict.fromkeys(r.command for r in self.results if r.verdict == NOT_RUN))


def read_claim(values: Mapping[str, Any], where: str) -> Claim:
    """A [[claim]] table. Raises BadInput."""
    values = dict(values)
    findings = values.pop("finding", [])
    settings = build(ClaimSettings, values, where)
    where = f"{where} '{settings.name}'"
    if not isinstance(findings, list) or not findings:
        raise BadInput(f"{where}: a claim needs at least one [[claim.finding]]")
    return Claim(settings, tuple(_finding(one, where) for one in findings))


def _finding(values: Mapping[str, Any], where: str) -> Finding:
    values = dict(values)
    kind = values.pop("kind", "")
    if kind not in KINDS:
        raise BadInput(f"{where}: no kind of finding '{kind}'{nearest(str(kind), list(KINDS))}")
    return build(KINDS[kind], values, f"{where}, {kind}")


def measure(claims: Sequence[Claim], sources: Sources) -> list[Outcome]:
    """All of them at once: Holm's correction is over every finding that chance has a part in, those that
    aren't run yet included, so that no verdict hangs on which others were looked at."""
    results = [_measure(finding, sources) for claim in claims for finding in claim.findings]
    tested = {str(i): 1.0 if r.p is None else r.p for i, r in enumerate(results) if r.finding.by_chance}
    adjusted = holm(tested)
    rest = iter(
        Result(r.finding, r.found, r.command, r.p, adjusted.get(str(i))) for i, r in enumerate(results)
    )
    return [Outcome(claim, tuple(next(rest) for _ in claim.findings)) for claim in claims]


def _measure(finding: Finding, sources: Sources) -> Result:
    try:
        found = finding.measure(sources)
    except Missing as missing:
        return Result(finding, None, str(missing))
    return Result(finding, found, p=p_value(found, finding.bound))


def counted(outcomes: Iterable[Outcome]) -> dict[Verdict, int]:
    counts: dict[Verdict, int] = {}
    for outcome in outcomes:
        counts[outcome.verdict] = counts.get(outcome.verdict, 0) + 1
    return counts
