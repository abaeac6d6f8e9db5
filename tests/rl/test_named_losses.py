"""Each named loss on three tokens, value and slopes worked by hand: ratios 1.5, 1.1, 0.5."""

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError

from groups import group
from shoestring.rl.batch import make_batches
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import NAMED, PolicyLossSettings, formula
from shoestring.rl.token_stats import token_stats
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch

SAMPLER = torch.tensor([-1.0, -2.0, -0.5])
LOGPROBS = SAMPLER + torch.tensor([1.5, 1.1, 0.5]).log()
LN2 = math.log(2)


def batch_of(advantages: list[float], weights: list[float]) -> MicroBatch:
    """Two samples of one prompt, of two tokens and one; the reference is twice as sure of each token."""
    packed = pack([Family([1], [Rendered([2, 3], [True] * 2), Rendered([4], [True])])])
    columns = torch.tensor(weights), torch.tensor(advantages), SAMPLER
    return MicroBatch(packed, *columns, reference_logprobs=LOGPROBS + LN2)


def value_and_slopes(settings: PolicyLossSettings, batch: MicroBatch) -> tuple[float, list[float]]:
    logprobs = LOGPROBS.clone().requires_grad_()
    loss = PolicyLoss(settings)(logprobs, batch)
    (slopes,) = torch.autograd.grad(loss, logprobs)
    return loss.item(), slopes.tolist()


def numeric_slopes(settings: PolicyLossSettings, batch: MicroBatch) -> list[float]:
    """By differences, of the loss as it is written: what `sg` hides is held still in none of it."""
    loss, step = PolicyLoss(settings), 1e-3
    slopes = []
    for i in range(3):
        up, down = LOGPROBS.clone(), LOGPROBS.clone()
        up[i] += step
        down[i] -= step
        slopes.append((loss(up, batch) - loss(down, batch)).item() / (2 * step))
    return slopes


def test_grpo():
    """Weights 1/4, 1/4 | 1/2 (two samples, of two tokens and one), A = 1, 1 | -1, clipped to 0.8 .. 1.2:
    -min(1.5, 1.2)/4 - 1.1/4 - min(-0.5, -0.8)/2 = -0.3 - 0.275 + 0.4
    KL: d = ln 2 everywhere, k3 = 1 - ln 2, its slope 1 - e^d = -1, times 0.04 and the weight."""
    settings = PolicyLossSettings(name="grpo")
    batch = batch_of([1, 1, -1], [0.25, 0.25, 0.5])
    loss, slopes = value_and_slopes(settings, batch)
    assert loss == pytest.approx(-0.175 + 0.04 * (1 - LN2))
    assert slopes == pytest.approx([-0.01, -0.275 - 0.01, -0.02])
    assert slopes == pytest.approx(numeric_slopes(settings, batch), abs=2e-3)


def test_dr_grpo():
    """Weights 1 / (2 samples * 4 tokens at most), A = 1/2, 1/2 | -1/2: -(0.6 + 0.55 - 0.4) / 8"""
    settings = PolicyLossSettings(name="dr-grpo")
    batch = batch_of([0.5, 0.5, -0.5], [1 / 8] * 3)
    loss, slopes = value_and_slopes(settings, batch)
    assert loss == pytest.approx(-0.75 / 8)
    assert slopes == pytest.approx([0, -0.55 / 8, 0])
    assert slopes == pytest.approx(numeric_slopes(settings, batch), abs=2e-3)


def test_dapo():
    """Weights 1/3, A = 1, 1 | -1, clipped to 0.8 .. 1.28: -(1.28 + 1.1 - 0.8) / 3"""
    settings = PolicyLossSettings(name="dapo")
    batch = batch_of([1, 1, -1], [1 / 3] * 3)
    loss, slopes = value_and_slopes(settings, batch)
    assert loss == pytest.approx(-1.58 / 3)
    assert slopes == pytest.approx([0, -1.1 / 3, 0])
    assert slopes == pytest.approx(numeric_slopes(settings, batch), abs=2e-3)


def test_gspo():
    """s = sqrt(1.5 * 1.1) = 1.28452 | 0.5, weights 1/4, 1/4 | 1/2. With A = -1, -1 | 1 nothing is clipped:
    1.28452/4 * 2 - 0.5/2 = 0.39226. ds/dlog p(t) = s/2 in the first sample, and both its tokens' terms have
    it: 2 * (1/4) * s/2 = s/4 for each; the second's is -0.5/2."""
    settings = PolicyLossSettings(name="gspo")
    batch = batch_of([-1, -1, 1], [0.25, 0.25, 0.5])
    s = math.sqrt(1.5 * 1.1)
    loss, slopes = value_and_slopes(settings, batch)
    assert loss == pytest.approx(s / 2 - 0.25)
    assert slopes == pytest.approx([s / 4, s / 4, -0.25])
    assert slopes == pytest.approx(numeric_slopes(settings, batch), abs=2e-3)


def test_gspo_clips_a_sample_as_a_whole():
    """A = 1, 1 | -1: s is past 1.0004 above and past 0.9997 below, so -1.0004/2 + 0.9997/2 and no slope,
    though one token alone (1.1 of 1.28) would have been within the bounds of the others."""
    loss, slopes = value_and_slopes(PolicyLossSettings(name="gspo"), batch_of([1, 1, -1], [0.25, 0.25, 0.5]))
    assert loss == pytest.approx(-1.0004 / 2 + 0.9997 / 2, abs=1e-6)
    assert slopes == [0, 0, 0]


def test_gspo_has_the_slopes_of_its_form_by_token():
    """GSPO-token: s_t = sg(s) p(t) / sg(p(t)), clipped and averaged by token. Equal where a sample has one
    advantage, on which the paper's section 4.3 rests."""
    settings = PolicyLossSettings(name="gspo", clip_low=0.4, clip_high=0.4)
    batch = batch_of([1, 1, -1], [0.25, 0.25, 0.5])
    logprobs = LOGPROBS.clone().requires_grad_()
    s = torch.tensor([math.sqrt(1.65), math.sqrt(1.65), 0.5])
    by_token = s * (logprobs - logprobs.detach()).exp()
    advantages, weights = batch.advantages, batch.weights
    assert advantages is not None
    gain = torch.minimum(by_token * advantages, by_token.clamp(0.6, 1.4) * advantages)
    (slopes,) = torch.autograd.grad(-(gain * weights).sum(), logprobs)
    assert slopes[0] != 0
    assert value_and_slopes(settings, batch)[1] == pytest.approx(slopes.tolist())


def test_cispo():
    """clip_high 0.28 beside the name: weights 1.28, 1.1, 0.5 (no lower bound), A = 1, 1 | -1, over 3:
    slopes -1.28/3, -1.1/3, 0.5/3: no token loses its gradient. The value is that times log p."""
    settings = PolicyLossSettings(name="cispo", clip_high=0.28)
    loss, slopes = value_and_slopes(settings, batch_of([1, 1, -1], [1 / 3] * 3))
    assert slopes == pytest.approx([-1.28 / 3, -1.1 / 3, 0.5 / 3])
    assert loss == pytest.approx(sum(s * lp for s, lp in zip(slopes, LOGPROBS.tolist(), strict=True)))
    bounded = PolicyLossSettings(name="cispo", clip_low=0.2)  # 0.8 below, 5 above
    _, slopes = value_and_slopes(bounded, batch_of([1, 1, -1], [1 / 3] * 3))
    assert slopes == pytest.approx([-1.5 / 3, -1.1 / 3, 0.8 / 3])


RESOLVED = {
    "default": ("token_mean", "none", "token", 0.2, 0.28, 0.0),
    "grpo": ("sequence_mean", "group_std", "token", 0.2, 0.2, 0.04),
    "dr-grpo": ("constant", "none", "token", 0.2, 0.2, 0.0),
    "dapo": ("token_mean", "group_std", "token", 0.2, 0.28, 0.0),
    "gspo": ("sequence_mean", "group_std", "sequence", 3e-4, 4e-4, 0.0),
    "cispo": ("token_mean", "group_std", "token", 1.0, 4.0, 0.0),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_name_brings_its_numbers_and_what_stands_beside_it_goes_first(name):
    def numbers(s: PolicyLossSettings) -> tuple:
        return (s.average, s.scale, s.ratio, s.clip_low, s.clip_high, s.kl_coefficient)

    settings = PolicyLossSettings.model_validate({"name": name})
    assert numbers(settings) == RESOLVED[name]
    again = PolicyLossSettings.model_validate(settings.model_dump())  # as a run keeps them
    assert again == settings
    changed = PolicyLossSettings.model_validate({"name": name, "clip_high": 0.5})
    assert numbers(changed) == (*RESOLVED[name][:4], 0.5, RESOLVED[name][5])


def test_formulas():
    assert formula(PolicyLossSettings(name="grpo")) == (
        "grpo: -1/S sum_o 1/|o| sum_t [min(r A, clip(r, 0.8, 1.2) A) - 0.04 k3(t)], r = p(t)/p_old(t), "
        "A = (R - mean R) / std R"
    )
    assert formula(PolicyLossSettings(name="cispo", correction="sequence_mask")) == (
        "cispo: -1/sum|o| sum_o sum_t [c sg(clip(r, 0, 5)) A log p(t)], r = p(t)/p_old(t), "
        "A = (R - mean R) / std R, c = p_old(o)/q(o) within 0.5 .. 2, else 0"
    )
    assert "r = (p(o)/p_old(o))^(1/|o|)" in formula(PolicyLossSettings(name="gspo"))
    assert "1/(S L)" in formula(PolicyLossSettings(name="dr-grpo"))
    assert len({formula(PolicyLossSettings.model_validate({"name": name})) for name in NAMED}) == len(NAMED)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "ppo"},
        {"name": ["grpo"]},
        {"name": "grpo", "eps": 0.1},
        {"correction": "tis"},
        {"correction_cap": 1.0},
        {"ratio": "word"},
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ValidationError, match=list(bad)[-1]):
        PolicyLossSettings.model_validate(bad)


def test_what_is_clipped_is_counted_at_the_losss_own_level():
    batch = dataclasses.replace(batch_of([1, 1, -1], [1 / 3] * 3), reference_logprobs=None)
    shares = {}
    for name in ("dapo", "gspo", "cispo"):
        stats = token_stats([LOGPROBS], [batch], PolicyLossSettings.model_validate({"name": name}))
        shares[name] = (stats.clip_low, stats.clip_high)
        s = math.sqrt(1.65)
        wanted = (0.5, (2 * s + 0.5) / 3, s) if name == "gspo" else (0.5, 3.1 / 3, 1.5)
        assert (stats.ratio_min, stats.ratio_mean, stats.ratio_max) == pytest.approx(wanted)
    assert shares["dapo"] == pytest.approx((1 / 3, 1 / 3))  # the third token below, the first above
    assert shares["gspo"] == pytest.approx((1 / 3, 2 / 3))  # all of both samples
    assert shares["cispo"] == (0, 0)  # 1.5 is below 5
    tight = PolicyLossSettings(name="cispo", clip_high=0.05, clip_low=0.2)
    stats = token_stats([LOGPROBS], [batch], tight)
    assert (stats.clip_low, stats.clip_high) == pytest.approx((1 / 3, 2 / 3))  # bounded whatever A is


def test_samples_without_an_advantage_are_counted():
    (batch,) = make_batches([group([1.0, 0.5, 0.0], [3, 1, 2])], PolicyLossSettings(), 8, 100)
    assert batch.sampler_logprobs is not None
    stats = token_stats([batch.sampler_logprobs], [batch], PolicyLossSettings())
    assert (stats.sequences, stats.zero_advantage) == (3, 1)
