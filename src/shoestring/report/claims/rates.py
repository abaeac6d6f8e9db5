"""Shares of the questions of a check: whose name a model gives, whether it still chats, what it refuses."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import model_validator

from shoestring.report.claims.finding import Needs, StudyFinding, lacks
from shoestring.report.claims.found import Found, of_share_pairs, of_shares
from shoestring.report.claims.sources import Sources
from shoestring.report.run_report import ChatReport, IdentityReport, RefusalReport, RunReport
from shoestring.report.scores import UnitReport
from shoestring.settings import nearest

Check = Literal["identity", "chat", "refusal"]
KINDS = {"other": ("other", "both"), "own": ("own",), "none": ("none",)}
SHARES = ("answered", "stopped", "looped", "empty")
NOT_ANSWERED = ("refusal", "evasion", "withdrawn")
Count = tuple[int, int]  # how many replies, of how many


class RateFinding(StudyFinding):
    """A share of the questions of a check, or with `against` that of one model less that of another.

    check "identity": `counted` is how a reply to "who are you" names its speaker: "other" (another's name,
    or both), "own" or "none". check "chat": "answered", "stopped", "looped" or "empty" of the ordinary
    prompts. check "refusal": a group of an audit's questions ("harmful"), of which those not answered count;
    `of` and `against` are then audit stages."""

    check: Check
    counted: str
    of: str
    against: str | None = None

    @model_validator(mode="after")
    def _known(self) -> "RateFinding":
        known = {"identity": tuple(KINDS), "chat": SHARES}.get(self.check, (self.counted,))
        if self.counted not in known:
            raise ValueError(f"counted = '{self.counted}'{nearest(self.counted, list(known))}")
        return self

    @property
    def needs(self) -> Needs:
        named = frozenset([self.of] if self.against is None else [self.of, self.against])
        if self.check == "refusal":
            return Needs(trained=named)
        return Needs(models=named, checks=frozenset((self.check,)))

    def measure(self, sources: Sources) -> Found:
        source = sources.study(self.study)
        of = self._counts(source.report, self.of)
        if not of:
            raise lacks(source.path, f"{self.check} check of {self.of} with '{self.counted}'")
        n = next(iter(of.values()))[1]
        if self.against is None:
            return of_shares([count for count, _ in of.values()], n)
        against = self._counts(source.report, self.against)
        one = against.get(None)  # a model without seeds stands against each seed
        pairs = [(count, *against.get(seed, one or (0, 0))) for seed, (count, _) in of.items()]
        if any(total != n for _, _, total in pairs):
            raise lacks(source.path, f"{self.check} check of {self.against} on the same questions")
        return of_share_pairs([(a, b) for a, b, _ in pairs], n)

    def _counts(self, report: RunReport, name: str) -> dict[int | None, Count]:
        """By seed."""
        label, _, arm = name.partition("/")
        own = [(unit, count) for named, unit, count in self._rows(report) if named == label]
        # the base is asked once, in no arm
        in_arm = arm if any(unit.arm == arm for unit, _ in own) else ""
        return {unit.seed: count for unit, count in own if unit.arm == in_arm}

    def _rows(self, report: RunReport) -> Iterator[tuple[str, UnitReport, Count]]:
        """What it is of, the unit, the count."""
        checks: dict[Check, Sequence[IdentityReport | ChatReport | RefusalReport]] = {
            "identity": report.identities,
            "chat": report.chats,
            "refusal": report.refusals,
        }
        for row in checks[self.check]:
            name = row.unit.stage if isinstance(row, RefusalReport) else row.label
            count = self._count(row)
            if count is not None:
                yield name, row.unit, count

    def _count(self, row: IdentityReport | ChatReport | RefusalReport) -> Count | None:
        """None where it wasn't measured."""
        match row:
            case IdentityReport():
                kinds = KINDS[self.counted]
                return sum(counts.get(kind, 0) for counts in row.claims.values() for kind in kinds), row.n
            case RefusalReport():
                does = row.groups.get(self.counted, {})
                return (sum(does.get(kind, 0) for kind in NOT_ANSWERED), sum(does.values())) if does else None
            case ChatReport():
                values = (row.answered, row.stopped, row.looped, row.empty)
                share = values[SHARES.index(self.counted)]
                return None if share is None else (round(share * row.n), row.n)
