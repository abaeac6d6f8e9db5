"""What every kind of finding has: what it says, the bound that is claimed, what a study must hold for it."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, model_validator

from shoestring.errors import BadInput
from shoestring.report.claims.found import Bound, Found, Verdict, judge
from shoestring.report.claims.sources import Sources
from shoestring.settings import Settings

Unit = Literal["points", "percent", "relative", "times", "tokens", "bits per byte", "of the mean load"]
Fixed = Literal["before", "by the study", "after"]
FIXED: dict[Fixed, str] = {
    "before": "before the study was run",
    "by the study": "by the study itself before it was run; its result was known when it became a claim here",
    "after": "when the result was known: it says what was found, and predicted nothing",
}
# unit -> how much is one of it, how it is written, what stands behind it
UNITS: dict[Unit, tuple[float, str, str]] = {
    "points": (0.01, "+.1f", " points"),
    "percent": (0.01, ".1f", " %"),
    "relative": (0.01, "+.2f", " %"),
    "times": (1.0, ".2f", " times"),
    "tokens": (1.0, "+.1f", " tokens"),
    "bits per byte": (1.0, "+.3f", " bits per byte"),
    "of the mean load": (1.0, "+.2f", " of the mean load"),
}


@dataclass(frozen=True)
class Needs:
    """Of one study: eval labels and stages, each with its arm after a slash, suites that the labels are
    asked, and checks that are made of them."""

    models: frozenset[str] = field(default_factory=frozenset)
    suites: frozenset[str] = field(default_factory=frozenset)
    trained: frozenset[str] = field(default_factory=frozenset)
    checks: frozenset[str] = field(default_factory=frozenset)

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.models | other.models,
            self.suites | other.suites,
            self.trained | other.trained,
            self.checks | other.checks,
        )


class Finding(Settings):
    """One value and what is claimed of it: `above`, `below` or `within` two values, in the value's own size
    (a share of 0.05 is 5 points)."""

    says: str  # what the value is
    unit: Unit
    above: float | None = None
    below: float | None = None
    within: tuple[float, float] | None = None
    fixed: Fixed = "before"  # when the bound was
    premise: bool = False  # where it doesn't hold nothing can be told of the claim

    @model_validator(mode="after")
    def _one_bound(self) -> "Finding":
        if sum(bound is not None for bound in (self.above, self.below, self.within)) != 1:
            raise ValueError("give one of above, below, within")
        if self.within is not None and self.within[0] >= self.within[1]:
            raise ValueError(f"within = {list(self.within)}: the smaller one comes first")
        return self

    @property
    def bound(self) -> Bound:
        if self.within is not None:
            return Bound(*self.within)
        low = -math.inf if self.above is None else self.above
        return Bound(low, math.inf if self.below is None else self.below)

    def show(self, value: float) -> str:
        """In its unit, which isn't said."""
        size, form, _ = UNITS[self.unit]
        return format(value / size, form)

    @property
    def claimed(self) -> str:
        """'above +0.0 points'."""
        told = UNITS[self.unit][2]
        if self.within is not None:
            return f"{self.show(self.within[0])} to {self.show(self.within[1])}{told}"
        if self.above is not None:
            return f"above {self.show(self.above)}{told}"
        assert self.below is not None
        return f"below {self.show(self.below)}{told}"

    @property
    def by_chance(self) -> bool:
        """Whether it is tested at all, and so counts among those that are."""
        return True

    @property
    def rule(self) -> str:
        """Where it is not judged by a 95 % interval as the others are: by what else, in words."""
        return ""

    @property
    def where(self) -> str:
        """What it is read from."""
        raise NotImplementedError

    def measure(self, sources: Sources) -> Found:
        """Raises Missing where what it needs hasn't been made, BadInput where that lacks what is named."""
        raise NotImplementedError

    def verdict(self, found: Found | None, adjusted: float | None) -> Verdict:
        """`adjusted` is the p value by Holm over all findings."""
        return judge(found, self.bound, adjusted)


class StudyFinding(Finding):
    """One that a study answers."""

    study: str

    @property
    def where(self) -> str:
        return f"studies/{self.study}.toml"

    @property
    def needs(self) -> Needs:
        raise NotImplementedError


class PairFinding(StudyFinding):
    """Of two models on the same suites."""

    of: str
    against: str
    suites: tuple[str, ...] = Field(min_length=1)

    @property
    def needs(self) -> Needs:
        return Needs(models=frozenset((self.of, self.against)), suites=frozenset(self.suites))


def lacks(where: object, what: str) -> BadInput:
    return BadInput(f"{where} has no {what}: it isn't finished, or is of an older study")
