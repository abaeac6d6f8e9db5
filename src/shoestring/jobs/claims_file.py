"""claims/claims.toml: the published claims, each with the findings that it stands or falls by.

[[claim]]            name, says, published (the figure, its report and section), control, fixed, note
[[claim.finding]]    kind, says, unit, and one of above, below, within; what else there is hangs on the kind:
    comparison       study, of, against = "LABEL[/ARM]", suites: accuracy, paired by seed and problem
    majority         study, of, suites: a vote over k samples less their mean
    reply            study, of, against, suites, metric: how they reply
    rate             study, check, counted, of [, against]: shares of identity and chat checks, of refusals
    contrast         study, of, against = "STAGE[/ARM]", metric [, relative]: figures of pretraining
    trend            study, stage [, arm, against], metric [, steps]: last steps less first ones
    figures          file, key, command: rounds in a committed benchmark
    plan             file, key, published_key, command: a planned range
    size             preset, over: cache bytes, counted"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.jobs.recipe_planned import Evals
from shoestring.report.ablation_run import FIGURES
from shoestring.report.claims.claim import Claim, read_claim
from shoestring.report.claims.comparison import ComparisonFinding, MajorityFinding
from shoestring.report.claims.finding import Finding, StudyFinding
from shoestring.report.claims.rates import RateFinding
from shoestring.report.claims.replies import ReplyFinding
from shoestring.report.claims.training import ContrastFinding, TrendFinding
from shoestring.report.curves import DRAWN
from shoestring.settings import nearest, read_toml

HOME = Path(__file__).resolve().parents[3]
CHECKS = {"identity": "identity_check", "chat": "chat_check"}


def read_claims(file: Path, home: Path) -> list[Claim]:
    """Every finding is held against its study's recipe. Raises BadInput where it can never be read."""
    raw = read_toml(file)
    unknown = [key for key in raw if key != "claim"]
    if unknown:
        raise BadInput(f"{file}: unknown table '{unknown[0]}'; a file of claims has [[claim]] alone")
    claims = [read_claim(values, f"{file}, claim") for values in raw.get("claim", [])]
    if not claims:
        raise BadInput(f"{file}: no [[claim]]")
    names = [claim.name for claim in claims]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadInput(f"{file}: claim '{twice[0]}' is there twice")
    studies: dict[str, Study] = {}
    for claim in claims:
        for study in claim.studies:
            studies.setdefault(study, Study(study, home))
    return [
        Claim(
            claim.settings,
            tuple(_checked(f, studies, f"{file}, claim '{claim.name}'") for f in claim.findings),
        )
        for claim in claims
    ]


def pick(claims: Sequence[Claim], only: Sequence[str]) -> list[Claim]:
    """Those named, in the file's order; all where none is. Raises BadInput."""
    names = [claim.name for claim in claims]
    for name in only:
        if name not in names:
            raise BadInput(f"no claim '{name}'{nearest(name, names)}")
    return [claim for claim in claims if not only or claim.name in only]


class Study:
    """What a study's recipe will have to show."""

    def __init__(self, name: str, home: Path) -> None:
        path = home / "studies" / f"{name}.toml"
        if not path.exists():
            known = [p.stem for p in sorted((home / "studies").glob("*.toml"))]
            raise BadInput(f"no such study: {name}{nearest(name, known) if known else ''}")
        self.raw = read_toml(path)
        self.stages: Mapping[str, Any] = {stage["name"]: stage for stage in self.raw["stage"]}
        self.arms = [arm["name"] for arm in self.raw.get("arm", [])]
        self.evals = Evals(self.stages, self.arms)

    def check_trained(self, side: str, where: str) -> str:
        """Returns the stage's job."""
        stage, slash, arm = side.partition("/")
        if stage not in self.stages:
            raise BadInput(f"{where}: no stage '{stage}'{nearest(stage, list(self.stages))}")
        if slash and arm not in self.arms:
            raise BadInput(f"{where}: no arm '{arm}'{nearest(arm, self.arms) if self.arms else ''}")
        return self.stages[stage]["job"]

    def check_made(self, model: str, check: str, where: str) -> None:
        label = model.partition("/")[0]
        asked = [stage for stage in self.stages.values() if label in stage.get("models", {})]
        if not any(stage.get(CHECKS[check]) for stage in asked):
            raise BadInput(f"{where}: no eval stage of '{label}' has {CHECKS[check]} = true")


def _checked(finding: Finding, studies: Mapping[str, Study], where: str) -> Finding:
    """With its suites in their canonical spelling, which is that of scores."""
    if not isinstance(finding, StudyFinding):
        return finding
    study, where = studies[finding.study], f"{where}, study '{finding.study}'"
    needs = finding.needs
    for model in sorted(needs.models):
        study.evals.check_model(model, where)
    for check in needs.checks:
        for model in sorted(needs.models):
            study.check_made(model, check, where)
    jobs = {study.check_trained(side, where) for side in sorted(needs.trained)}
    if isinstance(finding, RateFinding) and jobs - {"audit"}:
        raise BadInput(f"{where}: refusals are of audit stages, not of {', '.join(sorted(jobs))}")
    if isinstance(finding, ContrastFinding):
        if jobs - {"pretrain"}:
            raise BadInput(f"{where}: a contrast is of pretrain stages, not of {', '.join(sorted(jobs))}")
        if finding.metric not in FIGURES:
            raise BadInput(f"{where}: no figure '{finding.metric}'{nearest(finding.metric, list(FIGURES))}")
    if isinstance(finding, TrendFinding) and finding.metric not in DRAWN:
        raise BadInput(f"{where}: no kept curve '{finding.metric}'{nearest(finding.metric, list(DRAWN))}")
    if isinstance(finding, ComparisonFinding | MajorityFinding | ReplyFinding):
        suites = tuple(study.evals.suite(text, where) for text in finding.suites)
        return finding.model_copy(update={"suites": suites})
    return finding
