"""What a finding came to, and what may be said of it: nothing without an interval."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from shoestring.evals.statistics import Interval, wilson
from shoestring.report.contrast import LEVEL, p_of_zero, t_interval

HOLDS = "holds here"
FAILS = "does not hold here"
OPEN = "can't tell at this scale"
NOT_RUN = "not run yet"
Verdict = Literal["holds here", "does not hold here", "can't tell at this scale", "not run yet"]


@dataclass(frozen=True)
class Found:
    """n is of problems, questions or rounds, each of them met by every seed. ci95 is None where nothing tells
    how far another run would land. each: every seed's own value. chance(x): the two-sided p of a value of x;
    None where nothing is drawn by chance (a count of bytes)."""

    value: float
    ci95: Interval | None
    n: int
    each: tuple[float, ...]
    method: str
    chance: Callable[[float], float] | None = None

    @property
    def seeds(self) -> int:
        return len(self.each)


@dataclass(frozen=True)
class Bound:
    """What is claimed of a value: that it lies between these, of which one may be infinite."""

    low: float
    high: float


def p_value(found: Found, bound: Bound) -> float | None:
    """Of the verdict that the value itself suggests: a value inside the bound may still lie outside either
    end of it, one outside may lie inside."""
    if found.chance is None or found.ci95 is None:
        return None
    ends = [end for end in (bound.low, bound.high) if math.isfinite(end)]
    if bound.low < found.value < bound.high:
        return max(map(found.chance, ends))
    return found.chance(min(ends, key=lambda end: abs(end - found.value)))


def judge(found: Found | None, bound: Bound, adjusted: float | None) -> Verdict:
    """Holds only where the whole interval lies inside the bound, fails only where it lies outside; and where
    chance has a part in it (`adjusted`), only if all findings together wouldn't make such a one likely."""
    if found is None:
        return NOT_RUN
    if found.ci95 is None or (adjusted is not None and adjusted >= LEVEL):
        return OPEN
    interval = found.ci95
    if bound.low < interval.low and interval.high < bound.high:
        return HOLDS
    return FAILS if interval.low >= bound.high or interval.high <= bound.low else OPEN


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """A claim fails with any of its findings and holds only with all."""
    for verdict in (FAILS, NOT_RUN, OPEN):
        if verdict in verdicts:
            return verdict
    return HOLDS


def of_seeds(values: Sequence[float], n: int, what: str = "seeds") -> Found:
    """The mean of one value a seed, with Student's interval. Values that don't differ at all have none: they
    say nothing of how far another would land."""
    differ = len(set(values)) > 1
    return Found(
        value=sum(values) / len(values),
        ci95=t_interval(values) if differ else None,
        n=n,
        each=tuple(values),
        method=f"Student's t over {what}" if differ else f"no two {what} that differ: no interval",
        chance=(lambda x: p_of_zero([value - x for value in values])) if differ else None,
    )


def of_shares(counts: Sequence[int], n: int) -> Found:
    """A share of n questions that every seed was asked, counts[i] of them for the i-th. Seeds that agree by
    chance make Student's interval too short, and asking the same again is no new question: it is never
    shorter than Wilson's of one seed."""
    values = [count / n for count in counts]
    share = sum(values) / len(values)
    asked = wilson(share * n, n)
    return _widest(of_seeds(values, n), asked, "Wilson's of the questions", lambda x: _score_p(share, x, n))


def of_share_pairs(counts: Sequence[tuple[int, int]], n: int) -> Found:
    """A share less another's, of n questions that both sides and every seed were asked: never shorter than
    Newcombe's interval of one seed's questions (method 10, without correlation)."""
    values = [(a - b) / n for a, b in counts]
    left, right = (sum(side) / len(counts) / n for side in zip(*counts, strict=True))
    a, b = wilson(left * n, n), wilson(right * n, n)
    value = left - right
    below = math.hypot(left - a.low, b.high - right)
    above = math.hypot(a.high - left, right - b.low)
    asked = Interval(value - below, value + above)

    def chance(x: float) -> float:
        half = (below if value > x else above) / NormalDist().inv_cdf(1 - LEVEL / 2)
        return math.erfc(abs(value - x) / half / math.sqrt(2)) if half else float(value == x)

    return _widest(of_seeds(values, n), asked, "Newcombe's of the questions", chance)


def _widest(found: Found, asked: Interval, name: str, chance: Callable[[float], float]) -> Found:
    """Of one model neither says anything of another one trained in the same way."""
    if found.seeds < 2:
        return found
    seeds, of_seeds = found.ci95, found.chance
    if seeds is None or of_seeds is None:
        return dataclasses.replace(found, ci95=asked, method=name, chance=chance)
    return dataclasses.replace(
        found,
        ci95=Interval(min(seeds.low, asked.low), max(seeds.high, asked.high)),
        method=f"the wider of {found.method} and {name}",
        chance=lambda x: max(of_seeds(x), chance(x)),
    )


def _score_p(share: float, x: float, n: int) -> float:
    """Of a true share of x: what Wilson's interval is made of."""
    if not 0 < x < 1:
        return float(share == x)
    return math.erfc(abs(share - x) / math.sqrt(x * (1 - x) / n) / math.sqrt(2))
