"""How models reply to suites, beside whether they are right: how long, in what form, in what language."""

from typing import Literal

from shoestring.report.claims.finding import PairFinding, lacks
from shoestring.report.claims.found import Found, of_seeds
from shoestring.report.claims.sources import Sources
from shoestring.report.compare import by_seed
from shoestring.report.run_report import RunReport

ReplyMetric = Literal["format", "mixed", "tokens", "tokens_right", "tokens_wrong", "cut"]


class ReplyFinding(PairFinding):
    """The mean over `suites` of a figure of the replies, less another model's, paired by seed."""

    metric: ReplyMetric

    def measure(self, sources: Sources) -> Found:
        source = sources.study(self.study)
        of, against = (self._by_seed(source.report, name) for name in (self.of, self.against))
        seeds = [seed for seed in dict.fromkeys((*of, *against)) if seed is not None] or [None]
        pairs = [(of.get(seed, of.get(None)), against.get(seed, against.get(None))) for seed in seeds]
        values = [a - b for a, b in pairs if a is not None and b is not None]
        if not values or len(values) < len(pairs):
            raise lacks(source.path, f"{self.metric} of replies of both {self.of} and {self.against}")
        own = [by_seed(source.report.scores, self.of, suite) for suite in self.suites]
        return of_seeds(values, n=min(score.n for scores in own for score in scores.values()))

    def _by_seed(self, report: RunReport, name: str) -> dict[int | None, float | None]:
        """None where a suite's replies don't have the figure: no reply was wrong, say."""
        found = [by_seed(report.scores, name, suite) for suite in self.suites]
        seeds = [seed for seed in found[0] if all(seed in own for own in found)]
        result: dict[int | None, float | None] = {}
        for seed in seeds:
            shapes = [own[seed].shape for own in found]
            values = [None if shape is None else getattr(shape, self.metric) for shape in shapes]
            known = [value for value in values if value is not None]
            result[seed] = sum(known) / len(known) if len(known) == len(values) else None
        return result
