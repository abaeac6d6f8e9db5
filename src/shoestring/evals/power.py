"""How many problems a comparison needs, and what one of n problems can show.

Two models answer the same n problems once each. They differ on a share `differ` of them, and A is right on
`effect` more of the problems than B (0.05: five points). The test is the exact McNemar test at the level
0.05, which is what this package calls "better" by. Its power is worked out exactly: the number of problems on
which they differ is binomial, and so is how those fall.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np

POWER = 0.8
LEVEL = 0.05
# two models that agree no more than by chance, each right on half: the most cautious case. Stages of one run
# agree far more often, and then fewer problems would do
DIFFER = 0.5
MOST = 1_000_000
EXACT = 10_000  # problems; beyond, the sums take seconds and the normal approximation is within a hundredth
FAR = 7.0  # standard deviations: what lies beyond is left out of the sums


def paired_power(n: int, effect: float, differ: float = DIFFER) -> float:
    """The chance that the test calls A better on n problems, or worse: two-sided, as it is used."""
    if not 0 < effect <= differ <= 1 or n < 1:
        raise ValueError(f"an effect of {effect} among {differ} that differ, n = {n}")
    up = (differ + effect) / (2 * differ)  # of those that differ, how many fall to A
    middle, spread = n * differ, math.sqrt(n * differ * (1 - differ))
    low, high = max(0, math.floor(middle - FAR * spread)), min(n, math.ceil(middle + FAR * spread))
    logs = _log_factorials(n)
    total = 0.0
    for count in range(low, high + 1):
        chance = math.exp(_log_binomial(logs, n, count, differ))
        total += chance * _rejects(logs, count, up)
    return min(1.0, total)


def n_for_effect(effect: float, power: float = POWER, differ: float = DIFFER) -> int:
    """The fewest problems with this power, to within a hundredth. Raises ValueError past a million."""
    if not 0 < effect < 1:
        raise ValueError(f"an effect of {effect} is no difference of two shares")
    differ = max(differ, effect)
    near = _near(effect, power, differ)
    if near > MOST:
        raise ValueError(f"an effect of {effect} needs more than {MOST:,} problems")
    if near > EXACT:
        return near
    low, high = 1, near
    while paired_power(high, effect, differ) < power:
        low, high = high, high + max(1, high // 50)
    while high - low > max(1, high // 100):
        middle = max(
            (low + high) // 2, high - max(1, high // 20)
        )  # the start was near: go down in small steps
        low, high = (low, middle) if paired_power(middle, effect, differ) >= power else (middle, high)
    return high


def _near(effect: float, power: float, differ: float) -> int:
    """By the normal approximation (Connor 1987), which is a little below."""
    normal = NormalDist()
    spread = math.sqrt(max(differ - effect * effect, 0.0))
    reach = normal.inv_cdf(1 - LEVEL / 2) * math.sqrt(differ) + normal.inv_cdf(power) * spread
    return math.ceil((reach / effect) ** 2)


@cache
def effect_at(n: int, power: float = POWER, differ: float = DIFFER) -> float | None:
    """The smallest effect, to a tenth of a point, that n problems show with this power; None where even the
    largest isn't shown."""
    low, high = 0.0, differ
    if n > EXACT:  # the inverse of the approximation, nearly: effects are small here
        return round(math.sqrt(_near(0.01, power, differ) / n) / 100, 4)
    if paired_power(n, high, differ) < power:
        return None
    while high - low > 0.001:
        middle = (low + high) / 2
        low, high = (low, middle) if paired_power(n, middle, differ) >= power else (middle, high)
    return round(high, 3)


def _rejects(logs: np.ndarray, count: int, up: float) -> float:
    """The chance that `count` problems that differ, each A's with probability `up`, reject."""
    ways = logs[count] - logs[: count + 1] - logs[count::-1]  # log of count over k
    fair = np.cumsum(np.exp(ways - count * math.log(2)))
    inside = np.flatnonzero(2 * fair <= LEVEL)
    if not len(inside):
        return 0.0
    critical = int(inside[-1])
    if up >= 1:  # all fall to A
        return 1.0
    k = np.arange(count + 1)
    chances = np.exp(ways + k * math.log(up) + (count - k) * math.log1p(-up))
    return float(chances[: critical + 1].sum() + chances[count - critical :].sum())


def _log_factorials(n: int) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _log_binomial(logs: np.ndarray, n: int, k: int, p: float) -> float:
    if p == 1:
        return 0.0 if k == n else -math.inf
    return float(logs[n] - logs[k] - logs[n - k] + k * math.log(p) + (n - k) * math.log1p(-p))
