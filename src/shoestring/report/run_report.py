"""A run folder as values. Reading fills it, every rendering reads only it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shoestring.budget.price import Bill
from shoestring.evals.statistics import Interval


@dataclass(frozen=True)
class UnitReport:
    """One (stage, arm, seed) of the recipe. nonfinite counts metric values that were NaN or infinite."""

    number: int
    stage: str
    arm: str
    seed: int | None
    job: str
    finished: bool
    settings: str  # TOML
    nonfinite: int

    @property
    def title(self) -> str:
        seed = "" if self.seed is None else f"seed {self.seed}"
        return " ".join(word for word in (self.stage, self.arm, seed) if word)


@dataclass(frozen=True)
class Score:
    """One model on one suite, asked in one way. marks[problem] is its share of right replies, empty where the
    replies weren't kept. `best` is the way in which this model did best."""

    unit: UnitReport
    label: str
    is_base: bool
    suite: str
    variant: str
    best: bool
    n: int
    k: int
    seed: int
    correct: int
    score: float
    ci95: Interval
    truncated: int
    unparsed: int
    lost: int  # not judged: timeout or error
    lower_bound: bool  # so many replies were cut that the score says too little
    asking: str
    marks: Mapping[str, float]

    @property
    def name(self) -> str:
        seed = "" if self.unit.seed is None else f"seed {self.unit.seed}"
        return " ".join(word for word in (self.label, self.unit.arm, seed) if word)


@dataclass(frozen=True)
class Comparison:
    """A score less another's. p_value is None where nothing pairs. `adjusted` is Holm's over the report's
    comparisons of its kind."""

    of: tuple[Score, ...]  # several: one a seed
    against: Score
    difference: float
    ci95: Interval
    paired: bool
    method: str
    p_value: float | None
    adjusted: float | None = None

    @property
    def verdict(self) -> str:
        """Never "better" or "worse" where the interval holds 0, where nothing pairs, where several
        comparisons together could have given it by chance, or where the loser's replies were cut."""
        if not self.ci95.excludes_zero:
            return "no difference shown"
        if not self.paired:
            return "differs, but the problems do not pair"
        if self.adjusted is not None and self.adjusted >= 0.05:
            return "no difference shown (Holm)"
        lower, word = (self.against, "better") if self.difference > 0 else (self.of[0], "worse")
        # a score that only bounds its model from below can't lose: ending early is not reasoning
        return f"not told: {lower.name}'s replies were cut" if lower.lower_bound else word


@dataclass(frozen=True)
class Planned:
    """A comparison that was fixed before the run: a model less another on one suite, all their seeds
    together. `seeds` holds each seed's own difference; without any the units aren't finished."""

    of: str
    against: str
    suite: str
    seeds: Mapping[str, float]
    n: int = 0
    difference: float = 0.0
    ci95: Interval = field(default_factory=lambda: Interval(0.0, 0.0))
    p_value: float | None = None
    adjusted: float | None = None
    cut: tuple[str, ...] = ()  # those of the two whose replies were cut too often for a score

    @property
    def verdict(self) -> str:
        if self.p_value is None:
            return "not finished"
        if not self.ci95.excludes_zero:
            return "no difference shown"
        if self.adjusted is not None and self.adjusted >= 0.05:
            return "no difference shown (Holm)"
        lower, word = (self.against, "better") if self.difference > 0 else (self.of, "worse")
        return f"not told: {lower}'s replies were cut" if lower in self.cut else word


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

    @property
    def chat_command(self) -> str:
        return f"shoestring chat {self.folder}"
