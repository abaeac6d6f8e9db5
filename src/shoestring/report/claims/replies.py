"""How models reply, beside whether they are right: its length and form on suites, whose name it gives, and
whether it still chats."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.report.claims.finding import Needs, StudyFinding, lacks
from shoestring.report.claims.found import Found, of_seeds, of_share_pairs, of_shares
from shoestring.report.claims.sources import Sources
from shoestring.report.compare import by_seed
from shoestring.report.run_report import ChatReport, IdentityReport, RunReport

ReplyMetric = Literal["format", "mixed", "tokens", "tokens_right", "tokens_wrong", "cut"]


class ReplyFinding(StudyFinding):
    """The mean over `suites` of a figure of the replies, less another model's, paired by seed."""

    of: str
    against: str
    metric: ReplyMetric
    suites: tuple[str, ...] = Field(min_length=1)

    @property
    def needs(self) -> Needs:
        return Needs(models=frozenset((self.of, self.against)), suites=frozenset(self.suites))

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


class RateFinding(StudyFinding):
    """A share of the questions of a check, or with `against` that of one model less that of another.

    check "identity": `counted` is how a reply to "who are you" names its speaker: "other" (another's name,
    or both), "own" or "none". check "chat": "answered", "stopped", "looped" or "empty" of the ordinary
    prompts."""

    check: Literal["identity", "chat"]
    counted: str
    of: str
    against: str | None = None

    @property
    def needs(self) -> Needs:
        models = [self.of] if self.against is None else [self.of, self.against]
        return Needs(models=frozenset(models), checks=frozenset((self.check,)))

    def measure(self, sources: Sources) -> Found:
        source = sources.study(self.study)
        of = self._counts(source.report, self.of)
        if not of:
            raise lacks(source.path, f"{self.check} check of {self.of}")
        n = next(iter(of.values()))[1]
        if self.against is None:
            return of_shares([count for count, _ in of.values()], n)
        against = self._counts(source.report, self.against)
        one = against.get(None)  # a model without seeds stands against each seed
        pairs = [(count, *against.get(seed, one or (0, 0))) for seed, (count, _) in of.items()]
        if any(total != n for _, _, total in pairs):
            raise lacks(source.path, f"{self.check} check of {self.against} on the same questions")
        return of_share_pairs([(a, b) for a, b, _ in pairs], n)

    def _counts(self, report: RunReport, name: str) -> dict[int | None, tuple[int, int]]:
        """By seed: how many replies of how many."""
        label, _, arm = name.partition("/")
        rows: Sequence[IdentityReport | ChatReport]
        rows = report.identities if self.check == "identity" else report.chats
        own = [row for row in rows if row.label == label]
        # the base is asked once, in no arm
        own = [row for row in own if row.unit.arm == (arm if any(o.unit.arm == arm for o in own) else "")]
        return {row.unit.seed: (self._count(row), row.n) for row in own}

    def _count(self, row: IdentityReport | ChatReport) -> int:
        if isinstance(row, IdentityReport):
            kinds = {"other": ("other", "both"), "own": ("own",), "none": ("none",)}
            if self.counted not in kinds:
                raise BadInput(f"counted = '{self.counted}': other, own or none")
            return sum(counts.get(kind, 0) for counts in row.claims.values() for kind in kinds[self.counted])
        shares = {
            "answered": row.answered,
            "stopped": row.stopped,
            "looped": row.looped,
            "empty": row.empty,
        }
        if self.counted not in shares:
            raise BadInput(f"counted = '{self.counted}': {', '.join(shares)}")
        share = shares[self.counted]
        if share is None:
            raise BadInput(f"{row.name}: '{self.counted}' was not measured when it was asked")
        return round(share * row.n)
