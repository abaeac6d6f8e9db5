"""Measures of calibration against closed forms."""

import numpy as np
import pytest

from shoestring.evals.calibration import calibration


def of(confidences, right, problems=None):
    found = calibration(confidences, right, problems or list(range(len(right))))
    assert found is not None
    return found


def test_constant_confidence() -> None:
    """p everywhere, a share q right: ECE |q - p|, Brier p² - 2pq + q, AUROC one half."""
    p, right = 0.8, [True] * 6 + [False] * 4
    found = of([p] * 10, right)
    assert found.ece == pytest.approx(0.2)
    assert found.brier == pytest.approx(p * p - 2 * p * 0.6 + 0.6)
    assert found.auroc == 0.5
    assert (found.confidence, found.right) == (pytest.approx(0.8), 0.6)
    assert [(b.n, b.low) for b in found.bins] == [(10, 0.8)]


def test_perfect_and_worst() -> None:
    perfect = of([1.0, 1.0, 0.0, 0.0], [True, True, False, False])
    assert (perfect.ece, perfect.brier, perfect.auroc) == (0, 0, 1)
    worst = of([0.0, 0.0, 1.0, 1.0], [True, True, False, False])
    assert (worst.ece, worst.brier, worst.auroc) == (1, 1, 0)


def test_bins_are_weighed_by_their_replies() -> None:
    """Six replies at 0.9 of which 3 are right, two at 0.3 of which none: (6 * 0.4 + 2 * 0.3) / 8."""
    found = of([0.9] * 6 + [0.3] * 2, [True, False] * 3 + [False] * 2)
    assert found.ece == pytest.approx((6 * 0.4 + 2 * 0.3) / 8)
    assert [(b.low, b.n) for b in found.bins] == [(pytest.approx(0.3), 2), (0.9, 6)]


def test_auroc_counts_pairs_and_ties_as_half() -> None:
    p, right = [0.9, 0.7, 0.5, 0.5, 0.2], [True, False, True, False, False]
    pairs = [
        (a, b) for a, x in zip(p, right, strict=True) if x for b, y in zip(p, right, strict=True) if not y
    ]
    by_hand = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert of(p, right).auroc == pytest.approx(by_hand)


def test_calibrated_by_construction() -> None:
    """Right with the stated chance: Brier's mean is that of p(1 - p)."""
    rng = np.random.default_rng(1)
    p = rng.choice([0.1, 0.3, 0.5, 0.7, 0.9], size=2_000)
    found = of(p.tolist(), (rng.random(2_000) < p).tolist())
    assert found.ece < 0.05
    assert found.brier == pytest.approx(float((p * (1 - p)).mean()), abs=0.02)


def test_interval_of_the_brier_score_is_that_of_a_mean() -> None:
    p, right = [0.8] * 400, [True] * 300 + [False] * 100
    found = of(p, right)
    values = np.array([0.04] * 300 + [0.64] * 100)
    half = 1.96 * values.std() / 20
    assert found.brier_ci95 is not None
    assert found.brier_ci95.low == pytest.approx(values.mean() - half, abs=0.005)
    assert found.brier_ci95.high == pytest.approx(values.mean() + half, abs=0.005)


def test_replies_of_one_problem_are_drawn_together() -> None:
    p, right = [0.9, 0.4] * 20, [True, False] * 10 + [False, True] * 10
    once = of(p, right)
    again = of(p * 4, right * 4, list(range(40)) * 4)
    assert again.brier == pytest.approx(once.brier)
    assert again.brier_ci95 is not None
    assert once.brier_ci95 is not None
    assert again.brier_ci95.low == pytest.approx(once.brier_ci95.low)


def test_unstated_ones_are_counted_and_left_out() -> None:
    found = of([0.9, None, 0.9, None], [True, True, True, False])
    assert (found.stated, found.asked, found.right) == (2, 4, 1.0)
    assert found.auroc is None
    assert "AUROC can't be told" in found.line()
    assert "stated in 2 of 4 replies" in found.line()
    assert found.to_json()["auroc_ci95"] is None
    assert calibration([None, None], [True, False], ["a", "b"]) is None


def test_a_confidence_over_one_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        of([1.2], [True])
