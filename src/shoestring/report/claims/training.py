"""Figures of training itself: two ways of pretraining beside each other, how a metric moves while RL runs."""

import statistics
from collections.abc import Mapping

from pydantic import Field

from shoestring.report.ablation_run import FIGURES, Wanted
from shoestring.report.claims.finding import Needs, StudyFinding, lacks
from shoestring.report.claims.found import Found, of_seeds
from shoestring.report.claims.sources import Sources
from shoestring.report.contrast import contrasts
from shoestring.report.run_report import Curve, RunReport


class ContrastFinding(StudyFinding):
    """A figure of one stage and arm less another's, paired by seed; `relative`: as a share of the other's."""

    of: str
    against: str
    metric: str
    relative: bool = False

    @property
    def needs(self) -> Needs:
        return Needs(trained=frozenset((self.of, self.against)))

    def measure(self, sources: Sources) -> Found:
        source = sources.study(self.study)
        units = source.ablation.units
        wanted = Wanted(self.of, self.against, self.metric)
        (contrast,) = contrasts(units, [wanted])
        values = contrast.shares if self.relative else contrast.differences
        if not values:
            raise lacks(source.path, f"{FIGURES[self.metric]} of {self.of} and of {self.against}")
        return of_seeds(values, n=len(values), what="pairs of one seed")


class TrendFinding(StudyFinding):
    """The mean of a metric's last steps less that of its first, one value a seed; with `against` less the
    same of that arm."""

    stage: str
    arm: str = ""
    against: str | None = None
    metric: str
    steps: int = Field(default=5, ge=1)

    @property
    def needs(self) -> Needs:
        arms = [self.arm] if self.against is None else [self.arm, self.against]
        return Needs(trained=frozenset(f"{self.stage}/{arm}" if arm else self.stage for arm in arms))

    def measure(self, sources: Sources) -> Found:
        source = sources.study(self.study)
        moved = self._moved(source.report, self.arm)
        other = (
            self._moved(source.report, self.against)
            if self.against is not None
            else dict.fromkeys(moved, 0.0)
        )
        if not moved or moved.keys() != other.keys():
            arms = " and ".join(f"'{arm}'" for arm in (self.arm, self.against) if arm) or "as written"
            raise lacks(source.path, f"curve of {self.metric} of {self.stage}, arm {arms}")
        values = [value - other[seed] for seed, value in moved.items()]
        return of_seeds(values, n=self.steps)

    def curves(self, report: RunReport) -> list[Curve]:
        """Of the stage, all arms that the finding is about."""
        arms = [self.arm] if self.against is None else [self.arm, self.against]
        return [curve for arm in arms for curve in _curves(report, self.stage, arm, self.metric).values()]

    def _moved(self, report: RunReport, arm: str) -> dict[int | None, float]:
        moved = {}
        for seed, curve in _curves(report, self.stage, arm, self.metric).items():
            known = [value for value in curve.values if value is not None]
            if len(known) < len(curve.values) or not known:
                continue  # a value that wasn't finite: what is left would look too good
            moved[seed] = statistics.fmean(known[-self.steps :]) - statistics.fmean(known[: self.steps])
        return moved


def _curves(report: RunReport, stage: str, arm: str, metric: str) -> Mapping[int | None, Curve]:
    """By seed. A curve's line is its unit's title without the stage."""
    seeds = {
        unit.title.removeprefix(stage).strip(): unit.seed
        for unit in report.units
        if (unit.stage, unit.arm) == (stage, arm)
    }
    return {
        seeds[curve.line]: curve
        for curve in report.curves
        if (curve.stage, curve.metric) == (stage, metric) and curve.line in seeds
    }
