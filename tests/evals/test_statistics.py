"""Values by hand, from the papers, or by brute force; never from the code under test."""

import itertools
import math
import random

import numpy as np
import pytest

from shoestring.evals.statistics import (
    Interval,
    bootstrap_families,
    bootstrap_seeds_items,
    consensus,
    holm,
    maj_at_k,
    mcnemar_exact,
    newcombe_paired,
    paired_difference,
    pass_at_k,
    pass_table,
    wilson,
    wilson_clustered,
)


def score_end(successes: int, n: int, side: int) -> float:
    """Where |p^ - p| = z sqrt(p (1-p) / n), found by halving."""
    near, far = successes / n, float(side > 0)
    for _ in range(80):
        p = (near + far) / 2
        inside = abs(successes / n - p) < 1.959963984540054 * math.sqrt(p * (1 - p) / n)
        near, far = (p, far) if inside else (near, p)
    return near


def test_wilson_is_where_the_score_test_just_rejects():
    low, high = wilson(30, 128).low, wilson(30, 128).high
    for p in (low, high):  # |p^ - p| = z sqrt(p (1-p) / n) defines the interval's ends
        assert abs(30 / 128 - p) == pytest.approx(1.959963984540054 * math.sqrt(p * (1 - p) / 128))
    assert low < 30 / 128 < high
    # 81 of 263, Newcombe 1998 table I: 0.2553 to 0.3662
    assert (round(wilson(81, 263).low, 4), round(wilson(81, 263).high, 4)) == (0.2553, 0.3662)


def test_wilson_at_the_ends_is_exact():
    assert wilson(0, 20).low == 0.0
    assert wilson(0, 20).high == pytest.approx(1.959963984540054**2 / (20 + 1.959963984540054**2))
    assert wilson(20, 20).high == 1.0
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson(5, 4)


def test_samples_of_one_item_are_not_new_items():
    alike = wilson_clustered([4, 0] * 50, k=4)  # all or nothing: 4 samples tell no more than one
    same = wilson(50, 100)
    assert alike.high - alike.low == pytest.approx(same.high - same.low, rel=0.02)
    spread = wilson_clustered([2] * 100, k=4)  # no item differs from another: every sample counts
    assert spread == wilson(200, 400)
    assert wilson_clustered([0] * 30, k=8) == wilson(0, 30)
    assert wilson_clustered([1, 0, 1], k=1) == wilson(2, 3)


def test_clustered_interval_covers_the_truth():
    rng = random.Random(3)
    hits = 0
    for _ in range(300):
        right = [
            sum(rng.random() < p for _ in range(4)) for p in (rng.choice((0.05, 0.5)) for _ in range(120))
        ]
        interval = wilson_clustered(right, 4)
        hits += interval.low <= 0.275 <= interval.high
    assert 0.92 <= hits / 300 <= 0.98


def test_mcnemar_by_coin_tosses():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(5, 0) == 2 / 2**5
    assert mcnemar_exact(3, 3) == 1.0  # doubled tail would be above 1
    assert mcnemar_exact(9, 1) == mcnemar_exact(1, 9) == 2 * (1 + 10) / 2**10
    tosses = list(itertools.product((0, 1), repeat=8))
    assert mcnemar_exact(6, 2) == sum(abs(sum(t) - 4) >= 2 for t in tosses) / len(tosses)


def test_newcombe_paired_with_no_correlation_joins_the_two_intervals():
    interval = newcombe_paired(both=10, only_a=10, only_b=10, neither=10)
    w = wilson(20, 40)
    reach = math.sqrt((0.5 - w.low) ** 2 + (w.high - 0.5) ** 2)
    assert interval.low == pytest.approx(-reach)
    assert interval.high == pytest.approx(reach)


def test_newcombe_paired_by_hand():
    # both 20, only A 12, only B 2, neither 16: p1 = 0.64, p2 = 0.44, n = 50
    l1, u1, l2, u2 = score_end(32, 50, -1), score_end(32, 50, 1), score_end(22, 50, -1), score_end(22, 50, 1)
    phi = (20 * 16 - 12 * 2 - 25) / math.sqrt(32 * 18 * 22 * 28)
    low = 0.2 - math.sqrt((0.64 - l1) ** 2 - 2 * phi * (0.64 - l1) * (u2 - 0.44) + (u2 - 0.44) ** 2)
    high = 0.2 + math.sqrt((0.44 - l2) ** 2 - 2 * phi * (0.44 - l2) * (u1 - 0.64) + (u1 - 0.64) ** 2)
    interval = newcombe_paired(20, 12, 2, 16)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_paired_difference_counts_and_covers():
    found = paired_difference([True] * 7 + [False] * 3, [True] * 4 + [False] * 6)
    assert (found.difference, found.only_a, found.only_b, found.n) == (0.3, 3, 0, 10)
    assert found.p_value == 0.25
    rng = random.Random(5)
    hits = 0
    for _ in range(400):  # truth: A 0.6, B 0.45, of which 0.4 together
        draws = rng.choices(
            ((True, True), (True, False), (False, True), (False, False)), (40, 20, 5, 35), k=100
        )
        interval = paired_difference([a for a, _ in draws], [b for _, b in draws]).ci95
        hits += interval.low <= 0.15 <= interval.high
    assert 0.92 <= hits / 400 <= 0.985
    with pytest.raises(ValueError, match="paired items"):
        paired_difference([True], [])


def test_identical_models_differ_by_nothing():
    found = paired_difference([True, False] * 20, [True, False] * 20)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert not found.ci95.excludes_zero


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "b": 0.06, "c": 0.06}
    assert holm({"only": 0.2}) == {"only": 0.2}
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}


def test_pass_at_k_is_the_mean_over_all_choices():
    for drawn, right, k in ((5, 2, 3), (4, 0, 2), (4, 4, 1), (6, 3, 4), (8, 1, 1)):
        marks = [i < right for i in range(drawn)]
        chosen = list(itertools.combinations(marks, k))
        assert pass_at_k(drawn, right, k) == pytest.approx(sum(map(any, chosen)) / len(chosen))


def test_pass_at_more_than_drawn_is_an_error():
    with pytest.raises(ValueError, match="draw at least k"):
        pass_at_k(4, 1, 8)


def test_pass_at_1_has_one_expectation_whatever_is_drawn():
    rng = random.Random(0)
    for drawn in (1, 4, 16):
        scores = [pass_at_k(drawn, sum(rng.random() < 0.3 for _ in range(drawn)), 1) for _ in range(8000)]
        assert sum(scores) / len(scores) == pytest.approx(0.3, abs=0.016)


def test_maj_at_k():
    assert maj_at_k(["7", "5", "7"], [True, False, True], 3) == 1.0
    assert maj_at_k(["7", "5", "5"], [True, False, False], 3) == 0.0
    assert maj_at_k(["7", "5"], [True, False], 2) == 0.5
    assert maj_at_k([None, None, "7"], [False, False, True], 3) == 1.0
    assert maj_at_k([None], [False], 1) == 0.0
    with pytest.raises(ValueError, match="draw at least k"):
        maj_at_k(["7"], [True], 2)


def test_bootstrap_of_what_does_not_vary_is_a_point():
    interval = bootstrap_seeds_items(np.full((3, 40), 0.25), seed=1, draws=200)
    assert (interval.low, interval.high) == (pytest.approx(0.25), pytest.approx(0.25))


def test_bootstrap_over_items_agrees_with_the_normal_interval():
    values = np.tile(np.random.default_rng(0).integers(0, 2, 400).astype(float), (2, 1))  # seeds agree
    interval = bootstrap_seeds_items(values, seed=1, draws=4000)
    half = 1.96 * values[0].std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.006)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.006)
    assert bootstrap_seeds_items(values, seed=1, draws=4000) == interval


def test_bootstrap_sees_the_spread_of_seeds():
    values = np.repeat([[0.0], [0.5], [1.0]], 50, axis=1)  # items agree, seeds don't
    interval = bootstrap_seeds_items(values, seed=1, draws=4000)
    # means of 3 seeds drawn again: 0 and 1 each in 1 of 27 draws, more than 2.5 %
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_pass_table_by_hand():
    found = pass_table([4, 2, 0, 0], 4)
    assert list(found) == [1, 2, 4]
    assert found[1].value == pytest.approx((1 + 0.5) / 4)
    assert found[2].value == pytest.approx((1 + 5 / 6) / 4)  # of six pairs one has no right one
    assert found[4].value == 0.5
    assert found[4].ci95.low < 0.5 < found[4].ci95.high
    assert list(pass_table([1, 0], 6)) == [1, 2, 4, 6]
    assert pass_table([1, 0], 1) == {}
    assert pass_table([0] * 20, 2)[2].ci95 == wilson(0, 20)
    assert pass_table([2] * 20, 2)[1].ci95 == wilson(20, 20)


def test_pass_intervals_hold_the_truth():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(60):  # half of the problems are solved by one sample in five, the others never
        chances = np.where(rng.random(80) < 0.5, 0.2, 0.0)
        interval = pass_table([int(x) for x in rng.binomial(8, chances)], 8)[4].ci95
        hits += interval.low <= 0.5 * (1 - 0.8**4) <= interval.high
    assert hits >= 53


def test_families_weigh_alike_and_share_their_seeds():
    rng = np.random.default_rng(0)
    large, small = rng.normal(0.1, 1, (3, 900)), rng.normal(0.5, 1, (3, 60))
    interval, p = bootstrap_families([large, small], seed=0)
    middle = (large.mean() + small.mean()) / 2
    assert interval.low < middle < interval.high
    assert p < 0.05
    alone = bootstrap_seeds_items(large, seed=0)
    assert bootstrap_families([large], seed=0)[0] == alone
    # a seed that is bad in every family is drawn for all of them together, so families don't average it out
    seeds = np.repeat([[0.0], [0.5], [1.0]], 50, axis=1)
    assert bootstrap_families([seeds, seeds, seeds], seed=1)[0] == Interval(0.0, 1.0)


@pytest.mark.parametrize(("p", "k"), [(0.3, 3), (0.6, 5), (0.5, 4), (0.8, 8)])
def test_maj_at_k_is_a_binomials_upper_half(p, k):
    """Two answers, right with p: over all draws of k samples the mean is P(more than half) + P(half) / 2."""
    mean = 0.0
    for drawn in itertools.product((True, False), repeat=k):
        chance = math.prod(p if right else 1 - p for right in drawn)
        mean += chance * maj_at_k(["7" if right else "5" for right in drawn], drawn, k)
    closed = sum(
        math.comb(k, i) * p**i * (1 - p) ** (k - i) * (1.0 if 2 * i > k else 0.5 if 2 * i == k else 0.0)
        for i in range(k + 1)
    )
    assert mean == pytest.approx(closed)


def test_consensus_is_the_mean_of_the_votes():
    answers = [["7", "7", "5"], ["1", "2", "2"], [None, None, "4"], [None] * 3]
    right = [[True, True, False], [True, False, False], [False, False, True], [False] * 3]
    found = consensus(answers, right)
    assert found is not None
    assert found.value == 0.5
    assert found.ci95.low < 0.5 < found.ci95.high
    assert consensus([[None, None]], [[True, False]]) is None  # right without an answer to vote by
    assert consensus([[None, None]], [[False, False]]) is not None
