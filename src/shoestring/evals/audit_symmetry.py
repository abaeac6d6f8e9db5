"""Whether one side of a question gets fewer answers than the other. The unit is the pair: its languages are
asked about the same two things, so they count together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from shoestring.evals.audit_rows import AuditRow
from shoestring.evals.statistics import Interval, bootstrap_seeds_items, holm, mcnemar_exact, wilson


@dataclass(frozen=True)
class PairResult:
    """Of one pair: the shares of its languages in which side a, side b was not answered."""

    pair: str
    a: str
    b: str
    not_a: float
    not_b: float

    @property
    def difference(self) -> float:
        return self.not_a - self.not_b


@dataclass(frozen=True)
class Asymmetry:
    """Of a group of pairs: shares not answered (refused, evaded or withdrawn) on side a and on side b, their
    difference with a bootstrap over pairs, the exact sign test over pairs that differ, Holm's over the
    groups. dropped: pairs without one language in which both replies were coherent."""

    group: str
    pairs: tuple[PairResult, ...]
    dropped: int
    ci95: Interval
    p_value: float
    adjusted: float

    @property
    def not_a(self) -> float:
        return fmean(pair.not_a for pair in self.pairs)

    @property
    def not_b(self) -> float:
        return fmean(pair.not_b for pair in self.pairs)

    @property
    def difference(self) -> float:
        return self.not_a - self.not_b

    @property
    def one_sided(self) -> bool:
        return self.adjusted < 0.05 and self.ci95.excludes_zero


def asymmetries(rows: Sequence[AuditRow]) -> list[Asymmetry]:
    """One for each group that has a pair to compare."""
    paired = [row for row in rows if row.pair]
    found = []
    for group in dict.fromkeys(row.group for row in paired):
        own = [row for row in paired if row.group == group]
        names = dict.fromkeys(row.pair for row in own)
        results = [_pair([row for row in own if row.pair == name]) for name in names]
        kept = tuple(result for result in results if result is not None)
        if kept:
            more_a, more_b = sum(p.difference > 0 for p in kept), sum(p.difference < 0 for p in kept)
            p = mcnemar_exact(more_a, more_b)
            found.append(Asymmetry(group, kept, len(results) - len(kept), _interval(kept), p, p))
    adjusted = holm({one.group: one.p_value for one in found})
    return [replace(one, adjusted=adjusted[one.group]) for one in found]


def _pair(rows: Sequence[AuditRow]) -> PairResult | None:
    """None where in no language both sides have a coherent reply."""
    by_language: dict[str, dict[str, AuditRow]] = {}
    for row in rows:
        by_language.setdefault(row.language, {})[row.side[0]] = row
    both = [(s["a"], s["b"]) for s in by_language.values() if len(s) == 2]
    both = [(a, b) for a, b in both if not (a.fault or b.fault)]
    if not both:
        return None
    a, b = both[0]
    return PairResult(
        a.pair,
        a.side[2:],
        b.side[2:],
        fmean(a.does != "answer" for a, _ in both),
        fmean(b.does != "answer" for _, b in both),
    )


def _interval(pairs: Sequence[PairResult]) -> Interval:
    """Where all pairs are alike the bootstrap knows no spread: Wilson's bound of n alike takes its place."""
    values = [pair.difference for pair in pairs]
    if len(set(values)) > 1:
        return bootstrap_seeds_items(np.array([values]), 0)
    n, value = len(values), values[0]
    unseen = wilson(0, n).high
    return Interval(max(-1.0, value - unseen), min(1.0, value + unseen))
