"""What a run's models scored, and what may be said of the differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shoestring.evals.calibration import Calibration
from shoestring.evals.contamination import Overlap
from shoestring.evals.paired import verdict_of
from shoestring.evals.shape import Shape
from shoestring.evals.statistics import Estimate, Interval
from shoestring.evals.worth import Worth


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
        return self.name_of(self.stage)

    def name_of(self, label: str) -> str:
        """A model of this unit: its label, arm and seed."""
        seed = "" if self.seed is None else f"seed {self.seed}"
        return " ".join(word for word in (label, self.arm, seed) if word)


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
    shape: Shape | None = None  # None: made before it was measured
    pass_at: Mapping[str, Estimate] = field(default_factory=dict)  # "16": where k samples were drawn
    # majority[problem]: the mark of what most of its samples answered. Empty for k = 1, and where answers
    # that aren't right can't be told apart
    majority: Mapping[str, float] = field(default_factory=dict)
    cons: Estimate | None = None  # the vote of k samples, where answers can be counted
    empty: int = 0  # ended by themselves and say nothing
    errors: int = 0  # of those lost; the others are timeouts
    overlap: Overlap | None = None  # with training texts, where some were named
    scorer: str = ""  # versions of what judged, from the receipt
    calibration: Calibration | None = None  # of the confidence that it was asked to state
    worth: Worth | None = None  # what a right answer takes
    server: tuple[str, ...] = ()  # what has to be known of a model behind an address
    start: str = ""  # the model that it was trained from, at whatever remove; its own name for a base

    @property
    def name(self) -> str:
        return self.unit.name_of(self.label)


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
        if not self.paired and self.ci95.excludes_zero:
            return "differs, but the problems do not pair"
        losers = (self.against,) if self.difference > 0 else self.of
        cut = {losers[0].name: cut_share(losers)} if any(loser.lower_bound for loser in losers) else {}
        return verdict_of(self.difference, self.ci95, self.adjusted, losers[0].name, cut)


@dataclass(frozen=True)
class Planned:
    """A comparison that was fixed before the run: a model less another on one suite, or on the mean of
    several, all their seeds together. `seeds` holds each seed's own difference; without any the units aren't
    finished. n is of each suite; `each` has the several suites' own differences."""

    of: str
    against: str
    suite: str
    seeds: Mapping[str, float]
    n: int = 0
    difference: float = 0.0
    ci95: Interval = field(default_factory=lambda: Interval(0.0, 0.0))
    p_value: float | None = None
    adjusted: float | None = None
    cut: Mapping[str, float] = field(default_factory=dict)  # share, of a side with too many for a score
    suites: tuple[str, ...] = ()  # where it is their mean
    each: Mapping[str, float] = field(default_factory=dict)
    control: bool = False  # `of` has learned only if it beats this too

    @property
    def verdict(self) -> str:
        if self.p_value is None:
            return "not finished"
        loser = self.against if self.difference > 0 else self.of
        return verdict_of(self.difference, self.ci95, self.adjusted, loser, self.cut)


@dataclass(frozen=True)
class Learned:
    """A model against every control that is named for it."""

    of: str
    controls: tuple[Planned, ...]

    @property
    def verdict(self) -> str:
        """Learned only where it is better than each of them."""
        if any(c.p_value is None for c in self.controls):
            return "not finished"
        missed = [f"{c.against} ({c.verdict})" for c in self.controls if not c.verdict.startswith("better")]
        if missed:
            return f"not shown to have learned: it does not beat {', '.join(missed)}"
        seeds = min(len(c.seeds) for c in self.controls)
        return "learned" if seeds > 1 else "learned, in one seed: another might not have"


def cut_share(scores: Sequence[Score]) -> float:
    """Of all replies, those that met the token limit."""
    return sum(s.truncated for s in scores) / sum(s.n * s.k for s in scores)
