"""One model's accuracy less another's, paired by seed and problem; and one model's vote less its samples."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from shoestring.evals.statistics import Interval, bootstrap_families_test
from shoestring.report.claims.finding import Needs, PairFinding, StudyFinding, lacks
from shoestring.report.claims.found import Found
from shoestring.report.claims.sources import Sources
from shoestring.report.compare import by_seed, cut_share
from shoestring.report.scores import Score

BOOTSTRAP = "bootstrap over seeds and problems"


class ComparisonFinding(PairFinding):
    """The mean over `suites` of the difference. A side that lost with too many replies cut is given all of
    those as right, and the interval widened by them: ending early is not reasoning."""

    def measure(self, sources: Sources) -> Found:
        source = sources.study(self.study)
        scores = source.report.scores
        sides = {name: _sides(scores, name, self.suites, source.path) for name in (self.of, self.against)}
        values = [_pairs(of, against) for of, against in zip(*sides.values(), strict=True)]
        if not all(values) or len({tuple(own) for own in values}) > 1:
            raise lacks(source.path, f"problems that {self.of} and {self.against} were both asked")
        rows = [np.array(list(own.values())) for own in values]
        difference = float(np.mean([own.mean() for own in rows]))
        loser = self.against if difference > 0 else self.of
        lost = [score for own in sides[loser] for score in own.values()]
        granted = cut_share(lost) if any(score.lower_bound for score in lost) else 0.0
        return _found(rows, difference, granted, loser)


class MajorityFinding(StudyFinding):
    """A majority vote over the k samples of a problem, less their mean accuracy."""

    of: str
    suites: tuple[str, ...] = Field(min_length=1)

    @property
    def needs(self) -> Needs:
        return Needs(models=frozenset((self.of,)), suites=frozenset(self.suites))

    def measure(self, sources: Sources) -> Found:
        source = sources.study(self.study)
        rows = []
        for own in _sides(source.report.scores, self.of, self.suites, source.path):
            if not all(score.majority for score in own.values()):
                raise lacks(source.path, f"votes of {self.of}: k must be above 1, and its replies kept")
            rows.append(np.array([[s.majority[p] - s.marks[p] for p in s.majority] for s in own.values()]))
        return _found(rows, float(np.mean([own.mean() for own in rows])), 0.0, "")


def _sides(
    scores: Sequence[Score], name: str, suites: Sequence[str], where: object
) -> list[dict[int | None, Score]]:
    """Of each suite, each seed's score."""
    found = [by_seed(scores, name, suite) for suite in suites]
    for suite, own in zip(suites, found, strict=True):
        if not own:
            raise lacks(where, f"score of {name} on {suite}")
    return found


def _pairs(
    of: Mapping[int | None, Score], against: Mapping[int | None, Score]
) -> dict[int | None, list[float]]:
    """Each seed's differences on the problems that all were asked; a side without seeds stands against each
    of the other's. Evals that ask fewer problems ask the first of those that others do."""
    seeds = [seed for seed in dict.fromkeys((*of, *against)) if seed is not None] or [None]
    pairs = [(of.get(seed) or of.get(None), against.get(seed) or against.get(None)) for seed in seeds]
    if any(a is None or b is None for a, b in pairs):
        return {}
    sides = [(a.marks, b.marks) for a, b in pairs if a and b]
    common = [p for p in sides[0][1] if all(p in a and p in b for a, b in sides)]
    return {seed: [a[p] - b[p] for p in common] for seed, (a, b) in zip(seeds, sides, strict=True) if common}


def _found(rows: Sequence[np.ndarray], value: float, granted: float, loser: str) -> Found:
    """rows[i] of the i-th suite: (seeds, problems)."""
    interval, chance = bootstrap_families_test(rows, seed=0)
    widened = (
        f"; widened by the {100 * granted:.1f} points of {loser}'s replies that were cut" if granted else ""
    )
    towards = granted if value > 0 else -granted
    if len(rows[0]) == 1:  # one model: another of the same training might be another
        method, interval = f"{BOOTSTRAP.replace('seeds and ', '')}, one seed", None
    else:
        method = BOOTSTRAP + widened
        interval = Interval(
            min(interval.low, interval.low - towards), max(interval.high, interval.high - towards)
        )
    return Found(
        value=value,
        ci95=interval,
        n=min(own.shape[1] for own in rows),
        each=tuple(float(np.mean([own[i].mean() for own in rows])) for i in range(len(rows[0]))),
        method=method,
        chance=lambda x: chance(x + towards),
    )
