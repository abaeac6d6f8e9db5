"""A run folder as values. Reading fills it, every rendering reads only it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shoestring.budget.price import Amount, Bill
from shoestring.budget.ranges import Range
from shoestring.report.audits_read import AuditReport
from shoestring.report.plan_read import PlannedAmounts
from shoestring.report.rollout_page import RolloutPage
from shoestring.report.scores import Comparison, Learned, Planned, Score, UnitReport


@dataclass(frozen=True)
class ChatReport:
    """The ordinary chat prompts: shares of replies; of `asked` "who are you" replies, how many name whom."""

    unit: UnitReport
    label: str
    is_base: bool
    n: int
    stopped: float
    empty: float
    looped: float
    thinks: float
    maths_format: float
    own: int
    other: int
    asked: int
    tokens: float
    answered: float | None = None  # stop by themselves, say something, don't loop; None: not measured then

    @property
    def name(self) -> str:
        return self.unit.name_of(self.label)


@dataclass(frozen=True)
class IdentityReport:
    """Replies to questions about who speaks: by language how many claim its own name, another's, both, none;
    of all, how many claim each family."""

    unit: UnitReport
    label: str
    is_base: bool
    n: int
    claims: Mapping[str, Mapping[str, int]]
    families: Mapping[str, int]

    @property
    def name(self) -> str:
        return self.unit.name_of(self.label)


@dataclass(frozen=True)
class RefusalReport:
    """An audit's questions by group: what the replies do (answer, refusal, evasion, withdrawn), counted."""

    unit: UnitReport
    groups: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class StageCost:
    """What one model took beyond those before it, for one seed, evals not counted: of the stages named."""

    stages: tuple[str, ...]
    used: Amount
    wasted: Amount


@dataclass(frozen=True)
class Stages:
    """What the table of stages is of: models in the order in which they were made, the suites that are
    averaged, those that are harder than what was trained on; costs[i] is of models[i]."""

    models: tuple[str, ...]
    suites: tuple[str, ...]
    harder: tuple[str, ...]
    costs: tuple[StageCost, ...]


@dataclass(frozen=True)
class Curve:
    stage: str
    metric: str
    line: str  # arm and seed, empty for the recipe as written
    steps: tuple[int, ...]
    values: tuple[float | None, ...]  # None: not finite


@dataclass(frozen=True)
class Sample:
    """One rollout, as it was written."""

    unit: UnitReport
    step: int
    prompt: str
    completion: str
    right: bool
    outcome: str


@dataclass(frozen=True)
class Finding:
    """What a unit said of itself while it ran: its preflight, a fault, a trip wire, where its time went."""

    unit: UnitReport
    step: int  # 0: before the first
    name: str
    text: str


@dataclass(frozen=True)
class RunReport:
    name: str
    description: str
    folder: Path
    base: str  # what the run starts from, in words
    state: str  # of status.json: finished, running, interrupted, failed
    command: str
    units: tuple[UnitReport, ...]
    scores: tuple[Score, ...]
    against_base: tuple[Comparison, ...]
    against_recipe: tuple[Comparison, ...]  # arms, each less the recipe as written
    planned: tuple[Planned, ...]
    chats: tuple[ChatReport, ...]
    curves: tuple[Curve, ...]
    samples: tuple[Sample, ...]
    bill: Bill
    environment: Mapping[str, str]
    lacking: tuple[str, ...]  # what the reader must not conclude, and why
    rollouts: tuple[RolloutPage, ...] = ()
    stages: Stages | None = None
    findings: tuple[Finding, ...] = ()
    identities: tuple[IdentityReport, ...] = ()
    audits: tuple[AuditReport, ...] = ()
    refusals: tuple[RefusalReport, ...] = ()
    plan: Mapping[str, Range] = field(default_factory=dict)  # seconds by stage, as said before the run
    planned_amounts: PlannedAmounts = field(default_factory=dict)  # and what else it said

    @property
    def learned(self) -> tuple[Learned, ...]:
        """Of each model that has controls."""
        models = dict.fromkeys(c.of for c in self.planned if c.control)
        return tuple(Learned(of, tuple(c for c in self.planned if c.control and c.of == of)) for of in models)

    @property
    def chat_command(self) -> str:
        return f"shoestring chat {self.folder}"

    @property
    def rollouts_command(self) -> str:
        return f"shoestring show {self.folder} --rollouts"
