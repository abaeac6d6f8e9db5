"""Two ways of training beside each other, paired by seed. There are few pairs, so intervals are Student's."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shoestring.evals.statistics import Interval, holm
from shoestring.report.ablation_run import Trained, Wanted

LEVEL = 0.05


@dataclass(frozen=True)
class Contrast:
    """A figure of one side less the other's. pairs[seed] are both values; none where a side lacks a seed or
    the figure. p_value is of no difference, or with a claim (`wanted.within`) of a larger one than that."""

    wanted: Wanted
    pairs: Mapping[str, tuple[float, float]]
    p_value: float | None = None
    adjusted: float | None = None  # by Holm, over all that the recipe names

    @property
    def differences(self) -> list[float]:
        return [of - against for of, against in self.pairs.values()]

    @property
    def shares(self) -> list[float]:
        """Differences as shares of the other side's values; none where one of those is 0."""
        pairs = self.pairs.values()
        return [(of - against) / against for of, against in pairs] if all(b for _, b in pairs) else []

    @property
    def compared(self) -> list[float]:
        """What the interval and the p value are of."""
        return self.shares if self.wanted.within else self.differences

    @property
    def mean(self) -> float:
        return statistics.fmean(self.compared)

    @property
    def ci95(self) -> Interval | None:
        return t_interval(self.compared)

    @property
    def verdict(self) -> str:
        if not self.compared:
            return "not measured on both sides"
        interval = self.ci95
        if interval is None or self.adjusted is None:
            return "not told: one pair"
        if self.wanted.within:
            return _of_claim(interval, self.adjusted, self.wanted.within)
        if not interval.excludes_zero:
            return "no difference shown"
        if self.adjusted >= LEVEL:
            return "no difference shown (Holm)"
        return "lower" if self.mean < 0 else "higher"


def _of_claim(interval: Interval, adjusted: float, within: float) -> str:
    if interval.low > within or interval.high < -within:
        return "further apart than claimed"
    inside = -within < interval.low and interval.high < within
    return "within the claim" if inside and adjusted < LEVEL else "not told"


def contrasts(units: Sequence[Trained], wanted: Sequence[Wanted]) -> tuple[Contrast, ...]:
    """Each as named, Holm's correction over all of them."""
    found = [_contrast(units, one) for one in wanted]
    adjusted = holm({str(i): c.p_value for i, c in enumerate(found) if c.p_value is not None})
    return tuple(dataclasses.replace(c, adjusted=adjusted.get(str(i))) for i, c in enumerate(found))


def _contrast(units: Sequence[Trained], wanted: Wanted) -> Contrast:
    of, against = (_by_seed(units, side, wanted.metric) for side in (wanted.of, wanted.against))
    pairs: dict[str, tuple[float, float]] = {}
    for seed in [*of, *(seed for seed in against if seed not in of)]:
        left, right = of.get(seed), against.get(seed)
        if left is None or right is None:
            return Contrast(wanted, {})
        pairs[seed] = (left, right)
    made = Contrast(wanted, pairs)
    if len(made.compared) < 2:
        return made
    p = p_of_claim(made.compared, wanted.within) if wanted.within else p_of_zero(made.compared)
    return dataclasses.replace(made, p_value=p)


def _by_seed(units: Sequence[Trained], side: str, metric: str) -> dict[str, float | None]:
    return {str(unit.seed): unit.figures[metric] for unit in units if unit.name == side}


def t_interval(values: Sequence[float]) -> Interval | None:
    """95 % interval of the mean, None for fewer than two values."""
    if len(values) < 2:
        return None
    mean, half = statistics.fmean(values), reach(len(values), LEVEL) * statistics.stdev(values)
    return Interval(mean - half, mean + half)


def reach(n: int, level: float) -> float:
    """How far the interval of a mean of n goes to either side, in standard deviations of the values."""
    return t_point(level, n - 1) / math.sqrt(n)


def p_of_zero(values: Sequence[float]) -> float:
    """Two-sided, of a mean of 0."""
    return t_two_sided(_t(values, 0.0), len(values) - 1)


def p_of_claim(values: Sequence[float], within: float) -> float:
    """Of a mean that is `within` or more away from 0: the larger p of the two one-sided tests (Schuirmann
    1987)."""
    df = len(values) - 1
    return max(_above(_t(values, -within), df), _above(-_t(values, within), df))


def _t(values: Sequence[float], null: float) -> float:
    above, spread = statistics.fmean(values) - null, statistics.stdev(values)
    if spread == 0:
        return math.copysign(math.inf, above) if above else 0.0
    return above / spread * math.sqrt(len(values))


def _above(t: float, df: int) -> float:
    """The chance of a value of `t` or more."""
    tail = t_two_sided(t, df) / 2
    return tail if t >= 0 else 1 - tail


def t_two_sided(t: float, df: int) -> float:
    """The chance that Student's t with `df` degrees of freedom is at least as far from 0 as `t`: the finite
    series for whole `df` (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(abs(t) / math.sqrt(df))
    factor, total = 1.0, 0.0
    for power in range(df % 2, df - 1, 2):
        factor *= (power - 1) / power if power > 1 else 1.0
        total += factor * math.cos(angle) ** power
    inside = math.sin(angle) * total
    return max(0.0, 1 - ((angle + inside) * 2 / math.pi if df % 2 else inside))


def t_point(p: float, df: int) -> float:
    """The t whose two-sided chance is `p`."""
    low, high = 0.0, 1.0
    while t_two_sided(high, df) > p:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_two_sided(middle, df) > p else (low, middle)
    return high
