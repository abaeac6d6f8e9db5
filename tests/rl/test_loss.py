"""Each form of the policy loss against values worked by hand on three or four tokens."""

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError

from groups import group
from shoestring.rl.advantage import group_advantages
from shoestring.rl.batch import make_batches
from shoestring.rl.loss import PolicyLoss, token_weights
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.ratios import k3
from shoestring.rl.token_stats import token_stats
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch

SAMPLER = torch.tensor([-1.0, -2.0, -0.5])
RATIOS = torch.tensor([1.5, 1.1, 0.5])
LN2 = math.log(2)
PAPER = PolicyLossSettings(average="sequence_mean", scale="group_std", clip_high=0.2, kl_coefficient=0.04)


def batch_of(advantages: list[float], weights: list[float]) -> MicroBatch:
    packed = pack([Family([1], [Rendered([2, 3, 4], [True] * 3)])])
    return MicroBatch(packed, torch.tensor(weights), torch.tensor(advantages), SAMPLER)


def value_and_slopes(settings: PolicyLossSettings, batch: MicroBatch) -> tuple[float, list[float]]:
    logprobs = (SAMPLER + RATIOS.log()).requires_grad_()
    loss = PolicyLoss(settings)(logprobs, batch)
    (slopes,) = torch.autograd.grad(loss, logprobs)
    return loss.item(), slopes.tolist()


def test_clipping_apart_above_and_below():
    """rho = 1.5, 1.1, 0.5 and A = 1, 1, -1, clipped to 0.8 .. 1.28:
    -[min(1.5, 1.28) + min(1.1, 1.1) + min(-0.5, -0.8)] / 3 = -(1.28 + 1.1 - 0.8) / 3
    Only the second token is inside: its slope is -1.1 / 3."""
    loss, slopes = value_and_slopes(PolicyLossSettings(), batch_of([1, 1, -1], [1 / 3] * 3))
    assert loss == pytest.approx(-1.58 / 3)
    assert slopes == pytest.approx([0, -1.1 / 3, 0])


def test_a_move_that_makes_things_worse_is_never_clipped():
    """A = -1, -1, 1: -[min(-1.5, -1.28) + min(-1.1, -1.1) + min(0.5, 0.8)] / 3 = -(-1.5 - 1.1 + 0.5) / 3"""
    loss, slopes = value_and_slopes(PolicyLossSettings(), batch_of([-1, -1, 1], [1 / 3] * 3))
    assert loss == pytest.approx(2.1 / 3)
    assert slopes == pytest.approx([1.5 / 3, 1.1 / 3, -0.5 / 3])


def test_clip_settings_are_used():
    """0.6 .. 1.05: -(1.05 + 1.05 - 0.6) / 3"""
    settings = PolicyLossSettings(clip_low=0.4, clip_high=0.05)
    loss, slopes = value_and_slopes(settings, batch_of([1, 1, -1], [1 / 3] * 3))
    assert loss == pytest.approx(-1.5 / 3)
    assert slopes == pytest.approx([0, 0, 0])


def test_kl_is_k3():
    """d = ln 2, 0, -ln 2: e^d - d - 1 = 1 - ln 2, 0, ln 2 - 1/2. Its slope is 1 - e^d = -1, 0, 1/2."""
    logprobs = (SAMPLER + RATIOS.log()).detach()
    reference = logprobs + torch.tensor([LN2, 0.0, -LN2])
    assert k3(logprobs, reference).tolist() == pytest.approx([1 - LN2, 0.0, LN2 - 0.5], abs=1e-6)
    batch = dataclasses.replace(batch_of([0, 0, 0], [0.5, 0.25, 0.25]), reference_logprobs=reference)
    loss, slopes = value_and_slopes(PolicyLossSettings(kl_coefficient=0.1), batch)
    assert loss == pytest.approx(0.1 * (0.5 * (1 - LN2) + 0.25 * (LN2 - 0.5)))
    assert slopes == pytest.approx([-0.05, 0, 0.0125], abs=1e-7)


@pytest.mark.parametrize(
    ("average", "weights"),
    [
        ("token_mean", [1 / 4, 1 / 4]),  # 1 / (1 + 3)
        ("sequence_mean", [1 / 2, 1 / 6]),  # 1 / (2 * 1), 1 / (2 * 3)
        ("constant", [1 / 16, 1 / 16]),  # 1 / (2 * 8)
    ],
)
def test_averages(average, weights):
    assert token_weights([1, 3], average, max_tokens=8) == pytest.approx(weights)


def test_advantages():
    assert group_advantages([1, 0, 0, 0], "none") == pytest.approx([0.75, -0.25, -0.25, -0.25])
    deviation = math.sqrt((0.75**2 + 3 * 0.25**2) / 4)
    scaled = [0.75 / deviation] + [-0.25 / deviation] * 3
    assert scaled == pytest.approx([math.sqrt(3)] + [-1 / math.sqrt(3)] * 3)
    assert group_advantages([1, 0, 0, 0], "group_std") == pytest.approx(scaled)
    assert group_advantages([0.3, 0.1 + 0.2], "group_std") == [0.0, 0.0]  # no blow-up of a rounding error


def test_the_papers_form_as_a_whole():
    """Rewards 1, 0 of lengths 1, 3: A = 1, -1 (deviation 1/2), weights 1/2, 1/6. rho = 1.5 | 1, 1.1, 0.5.
    -min(1.5, 1.2)/2 - [min(-1, -1) + min(-1.1, -1.1) + min(-0.5, -0.8)]/6 = -0.6 + 2.9/6
    KL: d = ln 2 at each token, k3 = 1 - ln 2, the weights sum to 1: 0.04 (1 - ln 2)"""
    (batch,) = make_batches([group([0.0, 1.0], [3, 1])], PAPER, 8, 100)
    assert batch.advantages is not None
    assert batch.advantages.tolist() == pytest.approx([1, -1, -1, -1])
    logprobs = -1.0 + torch.tensor([1.5, 1.0, 1.1, 0.5]).log()
    batch = dataclasses.replace(batch, reference_logprobs=logprobs + LN2)
    loss = PolicyLoss(PAPER)(logprobs, batch).item()
    assert loss == pytest.approx(-0.6 + 2.9 / 6 + 0.04 * (1 - LN2))


def test_the_default_form_as_a_whole():
    """A = 1/2, -1/2 and weights 1/4; rho as above: -(1.28/2)/4 + (1 + 1.1 + 0.8)/2/4"""
    (batch,) = make_batches([group([0.0, 1.0], [3, 1])], PolicyLossSettings(), 8, 100)
    logprobs = -1.0 + torch.tensor([1.5, 1.0, 1.1, 0.5]).log()
    loss = PolicyLoss(PolicyLossSettings())(logprobs, batch).item()
    assert loss == pytest.approx(-0.16 + 0.3625)


def test_weights_are_of_the_whole_step_however_it_is_split():
    groups = [group([1.0, 0.0, 0.0], [4, 1, 5], "a"), group([0.0, 1.0], [2, 2], "b")]
    whole = make_batches(groups, PolicyLossSettings(), 8, 1000)
    split = make_batches(groups, PolicyLossSettings(), 8, 9)  # the first group in two parts
    assert (len(whole), len(split)) == (1, 3)
    for batches in (whole, split):
        weights = torch.cat([b.weights for b in batches])
        assert weights.tolist() == pytest.approx([1 / 14] * 14)
        total = sum((b.weights * b.advantages).sum().item() for b in batches)
        # (4 * 2/3 - 1/3 - 5/3 + 2 * -1/2 + 2 * 1/2) / 14
        assert total == pytest.approx(2 / 3 / 14)
    assert sum(b.num_tokens for b in whole) == 14 + 2 * 3  # a prompt stands once for its group
    assert sum(b.num_tokens for b in split) == 14 + 3 * 3


def test_samples_that_are_left_out_count_nowhere():
    (batch,) = make_batches([group([1.0, None, 0.0], [2, 5, 2])], PolicyLossSettings(), 8, 1000)
    assert batch.num_targets == 4
    assert batch.weights.tolist() == pytest.approx([0.25] * 4)
    assert batch.advantages is not None
    assert batch.advantages.tolist() == pytest.approx([0.5, 0.5, -0.5, -0.5])


def test_token_stats_by_hand():
    """Log ratios ln 1.5, ln 1.1, ln 0.5; KL(sampler || trainer) by k3: rho - ln rho - 1."""
    batch = dataclasses.replace(batch_of([1, 1, -1], [1 / 3] * 3), reference_logprobs=SAMPLER + RATIOS.log())
    stats = token_stats([SAMPLER + RATIOS.log()], [batch], PolicyLossSettings())
    assert stats.mismatch_kl == pytest.approx(sum(r - math.log(r) - 1 for r in (1.5, 1.1, 0.5)) / 3, rel=1e-4)
    assert stats.mismatch_max == pytest.approx(LN2)
    assert (stats.clip_low, stats.clip_high) == pytest.approx((1 / 3, 1 / 3))
    assert stats.entropy == pytest.approx(3.5 / 3 - sum(math.log(r) for r in (1.5, 1.1, 0.5)) / 3)
    assert stats.kl == pytest.approx(0.0, abs=1e-6)
    equal = token_stats([SAMPLER], [batch_of([1, 1, -1], [1 / 3] * 3)], PolicyLossSettings())
    assert (equal.mismatch_kl, equal.mismatch_max, equal.overflowed) == (0.0, 0.0, 0)
    assert (equal.clip_low, equal.clip_high, equal.kl) == (0.0, 0.0, 0.0)


def test_huge_ratios_stay_finite_and_are_counted():
    far = SAMPLER + torch.tensor([100.0, -100.0, 0.0])
    batch = batch_of([-1, 1, 1], [1 / 3] * 3)
    assert math.isfinite(PolicyLoss(PolicyLossSettings())(far, batch).item())
    assert token_stats([far], [batch], PolicyLossSettings()).overflowed == 2


@pytest.mark.parametrize(
    "bad", [{"clip_low": 0.0}, {"kl_coefficient": -1.0}, {"average": "mean"}, {"beta": 0.1}]
)
def test_settings_are_strict(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        PolicyLossSettings(**bad)
