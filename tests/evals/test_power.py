"""The power of the exact test, against simulation and small cases worked out by hand."""

import numpy as np
import pytest

from shoestring.evals.power import effect_at, n_for_effect, paired_power
from shoestring.evals.statistics import mcnemar_exact


def test_power_is_how_often_the_test_rejects():
    rng = np.random.default_rng(1)
    n, effect, differ, runs = 120, 0.2, 0.4, 4000
    up = (differ + effect) / 2
    drawn = rng.multinomial(n, [up, differ - up, 1 - differ], size=runs)
    rejected = sum(mcnemar_exact(int(a), int(b)) <= 0.05 for a, b, _ in drawn)
    assert paired_power(n, effect, differ) == pytest.approx(rejected / runs, abs=0.02)


def test_small_cases_by_hand():
    # all differ and all fall to A: five tosses alike have p = 1/16, six 1/32
    assert paired_power(5, 1.0, 1.0) == 0.0
    assert paired_power(6, 1.0, 1.0) == pytest.approx(1.0)
    # six of six differ, each A's with 3/4: only 6 or 0 of 6 reject
    assert paired_power(6, 0.5, 1.0) == pytest.approx(0.75**6 + 0.25**6)
    # one of two differs: with n = 6 all must, and all one way
    assert paired_power(6, 0.25, 0.5) == pytest.approx(0.5**6 * (0.75**6 + 0.25**6))


@pytest.mark.parametrize("effect", [0.05, 0.1, 0.3])
def test_n_for_an_effect_is_about_the_fewest(effect):
    n = n_for_effect(effect)
    assert paired_power(n, effect) >= 0.8
    assert paired_power(int(0.95 * n), effect) < 0.8
    assert effect_at(n) == pytest.approx(effect, abs=0.002)


def test_models_that_mostly_agree_need_fewer():
    assert n_for_effect(0.05, differ=0.2) < n_for_effect(0.05) / 2


def test_what_can_not_be_shown():
    assert effect_at(5) is None
    with pytest.raises(ValueError, match="more than 1,000,000"):
        n_for_effect(0.0001)
    with pytest.raises(ValueError, match="no difference of two shares"):
        n_for_effect(1.5)


def test_past_the_exact_sums_the_approximation_goes_on():
    assert n_for_effect(0.01) == pytest.approx(n_for_effect(0.02) * 4, rel=0.02)
    assert effect_at(n_for_effect(0.01)) == pytest.approx(0.01, abs=0.0002)
