"""Intervals and tests for scores: how sure a score is, and whether A really beats B on the same problems."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Estimate:
    value: float
    ci95: Interval

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.ci95.low:.1f}, {100 * self.ci95.high:.1f}]"


@dataclass(frozen=True)
class PairedDifference:
    """A minus B on the same items. method says how the interval and the p value were made."""

    difference: float
    ci95: Interval
    p_value: float
    only_a: int  # items that A has right and B has not
    only_b: int
    n: int
    method: str = "Newcombe's paired score interval (1998, method 10); exact McNemar test"


def wilson(successes: float, n: float, z: float = Z95) -> Interval:
    """Wilson's score interval of a proportion: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)."""
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"{successes} successes of {n}")
    p, z2 = successes / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # at 0 and n the bound is exact on paper; rounding must not move it
    return Interval(0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def wilson_clustered(right: Sequence[int], k: int) -> Interval:
    """Wilson's interval where each of n items was sampled k times: samples of one item resemble each other,
    so n·k is replaced by the effective size p(1-p) / Var(mean of item means), kept within [n, n·k]."""
    n = len(right)
    means = np.asarray(right, dtype=float) / k
    p = float(means.mean())
    if n < 2 or k == 1:
        return wilson(sum(right), n * k)
    spread = float(means.var(ddof=1)) / n
    size = p * (1 - p) / spread if spread > 0 else n * k * 1.0
    if p in (0.0, 1.0):  # nothing was seen to vary: claim no more than n independent items
        size = n
    size = min(max(size, n), n * k)
    return wilson(min(p * size, size), size)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p value: under no difference each discordant item falls either way like a fair coin."""
    n, smaller = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(smaller + 1))
    return min(1.0, 2 * tail / 2**n)


def paired_difference(a: Sequence[bool], b: Sequence[bool]) -> PairedDifference:
    """How much A scores above B on the same items, in the same order."""
    if len(a) != len(b) or not a:
        raise ValueError(f"paired items are needed: {len(a)} against {len(b)}")
    both = sum(x and y for x, y in zip(a, b, strict=True))
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    neither = len(a) - both - only_a - only_b
    interval = newcombe_paired(both, only_a, only_b, neither)
    difference = (only_a - only_b) / len(a)
    return PairedDifference(difference, interval, mcnemar_exact(only_a, only_b), only_a, only_b, len(a))


def newcombe_paired(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """Newcombe 1998, method 10: the two Wilson intervals joined as squares, with the items' correlation phi
    (numerator shrunk by n/2 where positive)."""
    n = both + only_a + only_b + neither
    p1, p2 = (both + only_a) / n, (both + only_b) / n
    w1, w2 = wilson(both + only_a, n), wilson(both + only_b, n)
    scale = math.sqrt((both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither))
    agreement = both * neither - only_a * only_b
    if agreement > 0:
        agreement = max(agreement - n / 2, 0)
    phi = agreement / scale if scale else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    below, above = reach(p1 - w1.low, w2.high - p2), reach(w1.high - p1, p2 - w2.low)
    return Interval(p1 - p2 - below, p1 - p2 + above)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjusted p values: with m families, the i-th smallest is times (m - i + 1), and never
    below the one before it. Compare each with the level wanted for all families together."""
    adjusted: dict[str, float] = {}
    running = 0.0
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(p_values) - i) * p))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def pass_at_k(drawn: int, right: int, k: int) -> float:
    """Unbiased chance that one of k samples is right, from `drawn` samples (Chen et al. 2021, eq. 1):
    1 - C(drawn - right, k) / C(drawn, k)."""
    if not 1 <= k <= drawn or not 0 <= right <= drawn:
        raise ValueError(f"pass@{k} can't be told from {drawn} samples with {right} right: draw at least k")
    return 1.0 - math.comb(drawn - right, k) / math.comb(drawn, k)


def pass_table(right: Sequence[int], drawn: int) -> dict[int, Estimate]:
    """pass@k for the powers of two up to `drawn`, and `drawn` itself, each with the 95 % percentile interval
    of a bootstrap over problems (`widened`); right[i] of problem i's samples are right. {} for one sample."""
    if drawn == 1:
        return {}
    sizes = sorted({2**i for i in range(drawn.bit_length())} | {drawn})
    chances = {k: [pass_at_k(drawn, count, k) for count in range(drawn + 1)] for k in sizes}
    values = np.array([[chances[k][count] for count in right] for k in sizes])
    means = _resampled_items(values, seed=0)
    return {
        k: Estimate(float(row.mean()), widened(_percentiles(drawn_again), float(row.mean()), len(right)))
        for k, row, drawn_again in zip(sizes, values, means.T, strict=True)
    }


def widened(interval: Interval, value: float, n: int) -> Interval:
    """A bootstrap's interval of a share, but where nothing was seen to vary Wilson's of n items: n that are
    all wrong don't prove that all are."""
    return interval if interval.low < interval.high else wilson(value * n, n)


def _resampled_items(values: np.ndarray, seed: int, draws: int = 10_000) -> np.ndarray:
    """Means (draws, rows) of values (rows, items) over items drawn again, the same items for every row."""
    items = values.shape[1]
    rng = np.random.default_rng(seed)
    counts = (rng.multinomial(items, np.full(items, 1 / items), size=500) for _ in range(draws // 500))
    return np.concatenate([drawn @ values.T for drawn in counts]) / items


def maj_at_k(answers: Sequence[Hashable | None], right: Sequence[bool], k: int) -> float:
    """Whether the most common of the first k answers is right (None: no answer was found, and has no vote).
    Tied answers share the mark."""
    if not 1 <= k <= len(answers):
        raise ValueError(f"maj@{k} can't be told from {len(answers)} samples: draw at least k")
    votes = Counter(a for a in answers[:k] if a is not None)
    if not votes:
        return 0.0
    top = [a for a, count in votes.items() if count == max(votes.values())]
    marks = {a: r for a, r in zip(answers[:k], right[:k], strict=True) if a in top}
    return sum(marks.values()) / len(top)


def consensus(
    answers: Sequence[Sequence[Hashable | None]], right: Sequence[Sequence[bool]]
) -> Estimate | None:
    """cons@k, the mean over problems of `maj_at_k` of all their k samples, with the interval of `pass_table`.
    None where no sample of any problem has an answer to vote by and some are right all the same: such a task
    (code, instructions) knows no vote. (A task with votes, none of which could be read, has 0.)"""
    if not any(a is not None for several in answers for a in several) and any(map(any, right)):
        return None
    marks = np.array([[maj_at_k(a, r, len(a)) for a, r in zip(answers, right, strict=True)]])
    mean = float(marks.mean())
    drawn = _percentiles(_resampled_items(marks, seed=0)[:, 0])
    return Estimate(mean, widened(drawn, mean, marks.shape[1]))


def bootstrap_seeds_items(values: np.ndarray, seed: int, draws: int = 10_000) -> Interval:
    """95 % percentile interval of the mean of values (seeds, items), where every seed met the same items:
    both are drawn again with replacement, independently (the pigeonhole bootstrap, Owen 2007). For a paired
    study give differences. With few seeds it knows only the spread that those few show."""
    return _percentiles(_resampled([values], seed, draws))


def bootstrap_p_value(values: np.ndarray, seed: int, draws: int = 10_000) -> float:
    """Two-sided p value of a mean of 0, of the same draws as `bootstrap_seeds_items`: twice the smaller share
    of means on either side of 0; never below 2 / (draws + 1)."""
    return _two_sided(_resampled([values], seed, draws))


def bootstrap_families(
    families: Sequence[np.ndarray], seed: int, draws: int = 10_000
) -> tuple[Interval, float]:
    """The same for the mean over families of each one's mean: interval and p value. Each is (seeds, its
    items), the seeds being those of the others: a seed is one model, so it is drawn for all families
    together; items are drawn within each."""
    means = _resampled(families, seed, draws)
    return _percentiles(means), _two_sided(means)


def bootstrap_families_test(
    families: Sequence[np.ndarray], seed: int, draws: int = 10_000
) -> tuple[Interval, Callable[[float], float]]:
    """The interval of `bootstrap_families`, and the p value of any mean, of the same draws."""
    means = _resampled(families, seed, draws)
    return _percentiles(means), lambda mean: _two_sided(means - mean)


def _percentiles(means: np.ndarray) -> Interval:
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))


def _two_sided(means: np.ndarray) -> float:
    smaller = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (1 + smaller) / (len(means) + 1))


def _resampled(families: Sequence[np.ndarray], seed: int, draws: int) -> np.ndarray:
    num_seeds = len(families[0])
    rng = np.random.default_rng(seed)
    means = np.zeros(draws)
    for start in range(0, draws, 500):
        count = min(500, draws - start)
        items = [
            rng.multinomial(values.shape[1], np.full(values.shape[1], 1 / values.shape[1]), size=count)
            for values in families
        ]
        runs = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=count)
        for values, drawn in zip(families, items, strict=True):
            own = np.einsum("ds,si,di->d", runs, values, drawn, optimize=True)
            means[start : start + count] += own / values.size
    return means / len(families)
