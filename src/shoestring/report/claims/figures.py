"""Findings that no study is needed for: a committed benchmark's rounds, a plan's range, a count of bytes."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import model_validator

from shoestring.errors import BadInput
from shoestring.evals.statistics import Interval
from shoestring.models.parameters import cache_per_token
from shoestring.models.presets import PRESETS
from shoestring.report.claims.finding import Finding
from shoestring.report.claims.found import FAILS, HOLDS, NOT_RUN, OPEN, Found, Verdict, of_seeds
from shoestring.report.claims.sources import Sources
from shoestring.settings import nearest


class FiguresFinding(Finding):
    """Values inside a committed JSON file, one a round; `key` is where: names and places, with dots."""

    file: str
    key: str
    command: str  # that makes the file

    @property
    def where(self) -> str:
        return self.file

    def measure(self, sources: Sources) -> Found:
        values = inside(sources.values(self.file, self.command), self.key, self.file)
        if not isinstance(values, list) or not all(isinstance(v, int | float) for v in values) or not values:
            raise BadInput(f"{self.file}: '{self.key}' is not a list of figures")
        return of_seeds([float(value) for value in values], n=len(values), what="rounds")


class PlanFinding(Finding):
    """A planned range (`key` has low, mid and high) over the published figure: claimed is that the range
    holds that figure, and that its middle lies `within` these. Nothing is drawn by chance: the range is that
    of the assumptions that the plan states."""

    file: str
    key: str
    published_key: str
    command: str

    @property
    def where(self) -> str:
        return self.file

    @property
    def by_chance(self) -> bool:
        return False

    @property
    def rule(self) -> str:
        return (
            "in brackets is no 95 % interval but the plan's range: this holds where the range has the "
            "published figure in it and the middle lies inside what is claimed"
        )

    def measure(self, sources: Sources) -> Found:
        plan = sources.values(self.file, self.command)
        published = inside(plan, self.published_key, self.file)
        low, mid, high = (inside(plan, f"{self.key}.{end}", self.file) for end in ("low", "mid", "high"))
        told = f"planned {low:,.4g} to {high:,.4g} from stated assumptions, published {published:,.4g}"
        return Found(
            mid / published, Interval(low / published, high / published), 1, (mid / published,), told
        )

    def verdict(self, found: Found | None, adjusted: float | None) -> Verdict:
        """The interval is wide by what isn't known: it has to hold the figure, and not to lie inside the
        bound."""
        if found is None or found.ci95 is None:
            return NOT_RUN
        if not found.ci95.low <= 1 <= found.ci95.high:
            return FAILS
        return HOLDS if self.bound.low <= found.value <= self.bound.high else OPEN


class SizeFinding(Finding):
    """Bytes that a token keeps in the cache with a preset's own attention, over those with full heads or with
    grouped ones (8, or a quarter of the heads) of its own sizes. Counted, not measured: the interval is the
    value."""

    preset: str
    over: Literal["full", "grouped"]

    @model_validator(mode="after")
    def _known(self) -> "SizeFinding":
        if self.preset not in PRESETS:
            raise ValueError(f"no preset '{self.preset}'{nearest(self.preset, list(PRESETS))}")
        return self

    @property
    def where(self) -> str:
        return f"shoestring show {self.preset}"

    @property
    def by_chance(self) -> bool:
        return False

    def measure(self, sources: Sources) -> Found:
        cache = cache_per_token(PRESETS[self.preset])
        other = cache.full if self.over == "full" else cache.grouped
        value = cache.own / other
        return Found(
            value, Interval(value, value), 1, (value,), f"counted: {cache.own:,} over {other:,} bytes"
        )


def inside(values: Any, key: str, file: str) -> Any:
    """What stands at `a.0.b` in JSON. Raises BadInput naming what is there instead."""
    for part in key.split("."):
        known = _names(values)
        if part not in known:
            told = nearest(part, known) if known else ""
            raise BadInput(f"{file}: no '{part}' of '{key}'{told}")
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


def _names(values: Any) -> list[str]:
    if isinstance(values, dict):
        return list(values)
    return (
        [str(i) for i in range(len(values))]
        if isinstance(values, Sequence) and not isinstance(values, str)
        else []
    )
