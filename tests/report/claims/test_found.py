"""Verdicts and intervals, worked out by hand."""

import math

import pytest

from shoestring.evals.statistics import Interval, wilson
from shoestring.report.claims.found import (
    FAILS,
    HOLDS,
    NOT_RUN,
    OPEN,
    Bound,
    Found,
    judge,
    of_seeds,
    of_share_pairs,
    of_shares,
    p_value,
    together,
)

ABOVE = Bound(0.0, math.inf)
BELOW = Bound(-math.inf, 0.0)
WITHIN = Bound(-1.0, 1.0)


def found(low, high, chance=None):
    return Found((low + high) / 2, Interval(low, high), 10, (1.0, 2.0), "made up", chance)


@pytest.mark.parametrize(
    ("low", "high", "bound", "verdict"),
    [
        (0.1, 0.5, ABOVE, HOLDS),
        (-0.1, 0.5, ABOVE, OPEN),
        (0.0, 0.5, ABOVE, OPEN),  # its end is the bound
        (-0.5, 0.0, ABOVE, FAILS),
        (-0.5, -0.1, BELOW, HOLDS),
        (0.1, 0.5, BELOW, FAILS),
        (-0.9, 0.9, WITHIN, HOLDS),
        (-0.9, 1.1, WITHIN, OPEN),
        (1.0, 2.0, WITHIN, FAILS),
        (-3.0, -2.0, WITHIN, FAILS),
        (-3.0, 3.0, WITHIN, OPEN),
    ],
)
def test_the_whole_interval_decides(low, high, bound, verdict):
    assert judge(found(low, high), bound, None) == verdict
    assert judge(found(low, high), bound, 0.01) == verdict


def test_what_several_findings_together_make_likely_is_no_verdict():
    assert judge(found(0.1, 0.5), ABOVE, 0.05) == OPEN
    assert judge(found(-0.5, -0.1), ABOVE, 0.5) == OPEN


def test_no_verdict_without_an_interval():
    assert judge(of_seeds([0.4], n=100), ABOVE, 0.0) == OPEN
    assert judge(None, ABOVE, None) == NOT_RUN


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        ((HOLDS, HOLDS), HOLDS),
        ((HOLDS, OPEN), OPEN),
        ((HOLDS, NOT_RUN), NOT_RUN),
        ((OPEN, NOT_RUN), NOT_RUN),
        ((HOLDS, NOT_RUN, FAILS), FAILS),
    ],
)
def test_a_claim_stands_with_all_and_falls_with_any(verdicts, verdict):
    assert together(verdicts) == verdict


def test_seeds_have_students_interval_and_its_p():
    """1, 2, 3: mean 2, deviation 1, and t of two degrees of freedom reaches 4.303."""
    made = of_seeds([1.0, 2.0, 3.0], n=5)
    assert made.ci95 is not None
    assert made.value == 2.0
    assert made.ci95.high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-3)
    assert p_value(made, Bound(made.ci95.low, math.inf)) == pytest.approx(0.05, abs=1e-6)


def test_a_value_inside_two_bounds_is_tested_at_both():
    made = of_seeds([0.5, 0.6, 0.7], n=5)
    assert made.chance is not None
    assert p_value(made, WITHIN) == max(made.chance(-1.0), made.chance(1.0))
    assert p_value(made, Bound(-1.0, 0.1)) == made.chance(0.1)


def test_seeds_that_agree_by_chance_are_as_sure_as_their_questions():
    """Three models that all say another's name 20 times of 200: Student's interval has no length."""
    made = of_shares([20, 20, 20], n=200)
    asked = wilson(20, 200)
    assert made.ci95 is not None
    assert (made.ci95.low, made.ci95.high) == pytest.approx((asked.low, asked.high))
    assert p_value(made, Bound(-math.inf, asked.high)) == pytest.approx(0.05, abs=1e-6)


def test_seeds_that_differ_are_as_sure_as_their_number():
    made = of_shares([5, 100, 190], n=200)
    assert made.ci95 == of_seeds([0.025, 0.5, 0.95], n=200).ci95


def test_a_difference_of_shares_is_never_surer_than_its_questions():
    made = of_share_pairs([(60, 2), (60, 2), (60, 2)], n=200)
    assert made.value == pytest.approx(0.29)
    assert made.ci95 is not None
    assert 0.2 < made.ci95.low < 0.25  # Newcombe's of 60 and 2 of 200
    assert p_value(made, ABOVE) < 1e-6
    assert of_share_pairs([(60, 2)], n=200).ci95 is None  # one model
