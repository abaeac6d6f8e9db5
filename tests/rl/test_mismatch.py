"""Sampler and trainer see one distribution: their logprobs agree, whatever the temperature."""

import dataclasses

import pytest
import torch

from groups import sampled_batches
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.reference import Reference
from shoestring.rl.token_stats import token_stats
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings
from tiny import tiny_lm
from tiny_v3 import tiny_v3

SETTINGS = PolicyLossSettings(kl_coefficient=0.1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("micro_batch_tokens", [10_000, 60])
def test_sampler_and_trainer_agree(temperature, micro_batch_tokens):
    lm = tiny_lm()
    batches = sampled_batches(lm, temperature, micro_batch_tokens)
    assert (len(batches) > 1) == (micro_batch_tokens == 60)
    learner = Learner(lm, OptimSettings(), 10)
    logprobs = [learner.forward(b, PolicyLoss(PolicyLossSettings()), temperature)[1] for b in batches]
    stats = token_stats(logprobs, batches, SETTINGS)
    assert stats.mismatch_max < 1e-4
    assert stats.mismatch_kl < 1e-8
    other = [learner.forward(b, PolicyLoss(PolicyLossSettings()), 1.7 - temperature)[1] for b in batches]
    assert token_stats(other, batches, SETTINGS).mismatch_kl > 1e-3  # the check would see a difference


def test_the_reference_is_tempered_as_the_trainer_is(tmp_path):
    lm = tiny_lm()
    lm.save(tmp_path / "m")
    reference = Reference(str(tmp_path / "m"), lm, temperature=0.7)
    batches = [reference.annotate(b) for b in sampled_batches(lm, 0.7, 10_000)]
    learner = Learner(lm, OptimSettings(learning_rate=1e-2, warmup_steps=0), 10)
    update = learner.update(batches, PolicyLoss(SETTINGS), 0.7)
    assert token_stats(update.logprobs, batches, SETTINGS).kl < 1e-8  # before the first step they are equal
    after = learner.update(batches, PolicyLoss(SETTINGS), 0.7)
    assert token_stats(after.logprobs, batches, SETTINGS).kl > 1e-5
    assert all(not p.requires_grad for p in reference.network.parameters())
    again = reference.annotate(batches[0]).reference_logprobs
    assert batches[0].reference_logprobs is not None
    assert again is not None
    assert torch.equal(again, batches[0].reference_logprobs)  # it stays as it was


@pytest.mark.parametrize("micro_batch_tokens", [10_000, 60])
def test_replayed_routing_keeps_the_samplers_logprobs_where_the_routers_have_moved(micro_batch_tokens):
    """What the sampler's experts said of its tokens, though the routers would choose others by now; and the
    routers still learn."""
    lm = tiny_v3()
    batches = sampled_batches(lm, 1.0, micro_batch_tokens, record_routing=True)
    assert all(batch.routing is not None for batch in batches)
    for i, router in enumerate(lm.network.routers()):
        router.e_score_correction_bias.normal_(0, 3, generator=torch.Generator().manual_seed(i))
    learner = Learner(lm, OptimSettings(learning_rate=1e-3, warmup_steps=0), 2)

    def worst(replay: bool) -> float:
        gaps = []
        for batch in batches:
            own = batch if replay else dataclasses.replace(batch, routing=None)
            _, logprobs = learner.forward(own, PolicyLoss(PolicyLossSettings()))
            assert own.sampler_logprobs is not None
            gaps.append((logprobs - own.sampler_logprobs).abs().max().item())
        return max(gaps)

    assert worst(replay=True) < 1e-4
    assert worst(replay=False) > 0.1
    before = [router.weight.detach().clone() for router in lm.network.routers()[:2]]
    learner.update(batches, PolicyLoss(PolicyLossSettings()))
    for router, old in zip(lm.network.routers(), before, strict=False):
        assert not torch.equal(router.weight, old)
