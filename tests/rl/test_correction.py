"""Corrections of a sampler that isn't the trainer's twin, by hand: p_old / q = 3, 1.5 | 0.25."""

import dataclasses

import pytest
import torch

from groups import sampled_batches
from shoestring.rl.correction import correction_factors
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.token_stats import token_stats
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings
from tiny import tiny_lm

SAMPLER = torch.tensor([-2.0, -2.0, -1.0])
OLD = SAMPLER + torch.tensor([3.0, 1.5, 0.25]).log()


def two_samples() -> MicroBatch:
    packed = pack([Family([1], [Rendered([2, 3], [True] * 2), Rendered([4], [True])])])
    return MicroBatch(packed, torch.full((3,), 1 / 3), torch.tensor([1.0, 1.0, -1.0]), SAMPLER)


@pytest.mark.parametrize(
    ("correction", "cap", "factors", "touched"),
    [
        ("token_tis", 2.0, [2, 1.5, 0.25], 1 / 3),
        ("token_mask", 2.0, [0, 1.5, 0], 2 / 3),  # 3 > 2 and 0.25 < 1/2
        ("token_mask", 4.0, [3, 1.5, 0.25], 0),  # 1/4 is still within
        ("sequence_tis", 2.0, [2, 2, 0.25], 2 / 3),  # 3 * 1.5 = 4.5, capped
        ("sequence_tis", 5.0, [4.5, 4.5, 0.25], 0),
        ("sequence_mask", 4.5001, [4.5, 4.5, 0.25], 0),
        ("sequence_mask", 3.0, [0, 0, 0], 1),  # 4.5 > 3 and 0.25 < 1/3
    ],
)
def test_factors_loss_and_count(correction, cap, factors, touched):
    """The only update's own logprobs are p_old: r = 1 in value, so the loss is -sum w c A and a slope is
    -w c A."""
    settings = PolicyLossSettings(correction=correction, correction_cap=cap)
    batch = two_samples()
    found = correction_factors(OLD, batch, settings)
    assert found.factors.tolist() == pytest.approx(factors)
    assert found.touched.float().mean().item() == pytest.approx(touched)
    logprobs = OLD.clone().requires_grad_()
    loss = PolicyLoss(settings)(logprobs, batch)
    (slopes,) = torch.autograd.grad(loss, logprobs)
    wanted = [-factors[0] / 3, -factors[1] / 3, factors[2] / 3]
    assert slopes.tolist() == pytest.approx(wanted)
    assert loss.item() == pytest.approx(sum(wanted))
    stats = token_stats([OLD], [batch], settings)
    assert stats.corrected == pytest.approx(touched)
    assert (stats.ratio_min, stats.ratio_max) == (1, 1)


def test_a_correction_leaves_the_penalty_alone():
    settings = PolicyLossSettings(correction="token_mask", kl_coefficient=0.5)
    free = PolicyLossSettings(kl_coefficient=0.5)
    batch = dataclasses.replace(two_samples(), reference_logprobs=OLD + 1, advantages=torch.zeros(3))
    assert PolicyLoss(settings)(OLD, batch).item() == pytest.approx(PolicyLoss(free)(OLD, batch).item())
    assert PolicyLoss(settings)(OLD, batch).item() > 0.1


def test_recorded_old_logprobs_are_what_ratio_and_correction_are_taken_of():
    """p = 1.2 p_old: r = 1.2, c = 2, 1.5 | 0.25 under the cap of 2: -1.2 (2 + 1.5 - 0.25) / 3"""
    batch = dataclasses.replace(two_samples(), old_logprobs=OLD)
    logprobs = OLD + torch.tensor(1.2).log()
    loss = PolicyLoss(PolicyLossSettings(correction="token_tis"))(logprobs, batch)
    assert loss.item() == pytest.approx(-3.9 / 3)
    without = PolicyLoss(PolicyLossSettings())(logprobs, batch)
    assert without.item() == pytest.approx(-1.2 / 3)
    stats = token_stats([logprobs], [batch], PolicyLossSettings())
    assert stats.ratio_mean == pytest.approx(1.2)
    assert stats.mismatch_max == pytest.approx(1.386294)  # ln 4: of p_old and sampler, not of the model now
    assert stats.entropy == pytest.approx(-OLD.mean().item())


def test_huge_factors_stay_finite_and_are_counted():
    batch = two_samples()
    far = SAMPLER + torch.tensor([80.0, -80.0, 0.0])
    settings = PolicyLossSettings(correction="token_tis")
    assert PolicyLoss(settings)(far, batch).isfinite()
    assert token_stats([far], [batch], settings).overflowed == 2


def test_a_planted_mismatch_is_seen_and_bounded():
    """Sampled at 0.7, trained at 1: the temperature on one side only."""
    lm = tiny_lm()
    batches = sampled_batches(lm, 0.7, 10_000)
    learner = Learner(lm, OptimSettings(), 10)
    settings = PolicyLossSettings(correction="token_tis", correction_cap=1.05)
    right, wrong = (
        token_stats([learner.forward(b, PolicyLoss(settings), t)[1] for b in batches], batches, settings)
        for t in (0.7, 1.0)
    )
    assert right.corrected == 0
    assert wrong.corrected > 0.02
    assert wrong.mismatch_kl > 1000 * max(right.mismatch_kl, 1e-9)
