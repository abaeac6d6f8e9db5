"""The teacher's logprobs of the student's samples as advantages."""

import dataclasses

import pytest
import torch

from shoestring.distill.divergence import DivergenceSettings
from shoestring.distill.live import LiveLoss, LiveTeacher
from shoestring.distill.on_policy import Annotate, WithTask, logprobs_of
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.objectives import Objectives
from shoestring.train.passes import forward_pass
from tiny import tiny_lm


def every_next_token(lm, prompt: list[int], temperature: float) -> MicroBatch:
    """Each token of the vocabulary after one prompt, with its probability as its weight: the expectation."""
    vocab = lm.config.vocab_size
    packed = pack([Family(prompt, [Rendered([v], [True], f"{v}") for v in range(vocab)])])
    logprobs = (lm.logits([prompt])[0, -1] / temperature).log_softmax(-1).clone()
    return MicroBatch(packed, logprobs.exp(), torch.zeros(vocab), logprobs)


def gradient(lm, batch: MicroBatch, loss, temperature: float) -> list[torch.Tensor]:
    lm.network.requires_grad_(True).zero_grad()
    forward_pass(lm.network, batch, loss, temperature, Objectives(), 1.0).total.backward()
    return [p.grad.clone() for p in lm.network.parameters() if p.grad is not None]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_expected_token_signal_is_the_gradient_of_the_whole_reverse_kl(temperature):
    lm = tiny_lm(0)
    teacher = LiveTeacher(tiny_lm(1).network, torch.arange(lm.config.vocab_size))
    prompt = lm.tokenizer.encode("What is 2 + 3?")
    batch = every_next_token(lm, prompt, temperature)
    annotated = Annotate(logprobs_of(teacher, temperature), 0.5, 1.0)(batch)
    sampled = gradient(lm, annotated, PolicyLoss(PolicyLossSettings()), temperature)

    once = MicroBatch(pack([Family(prompt, [Rendered([0], [True], "r")])]), torch.ones(1), torch.zeros(1))
    own = DivergenceSettings(name="reverse_kl", temperature=temperature)
    whole = gradient(lm, once, WithTask(LiveLoss(own, teacher, temperature), 0.5, None), temperature)
    assert max(g.abs().max() for g in whole) > 1e-2
    for one, other in zip(sampled, whole, strict=True):
        assert torch.allclose(one, other, atol=2e-5, rtol=1e-3)


def test_both_signals_are_mixed_by_their_weights():
    lm = tiny_lm(0)
    batch = every_next_token(lm, lm.tokenizer.encode("Hm."), 1.0)
    batch = dataclasses.replace(batch, advantages=torch.full_like(batch.weights, 3.0))
    teacher = torch.linspace(-9, -1, batch.num_targets)
    mixed = Annotate(lambda _batch: teacher, 2.0, 0.5)(batch)
    assert torch.allclose(mixed.advantages, 2.0 * (teacher - batch.sampler_logprobs) + 1.5)
    assert torch.equal(mixed.reference_logprobs, teacher)  # so that `kl` is the distance to it


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    lm = tiny_lm(0)
    teacher = LiveTeacher(tiny_lm(0).network, torch.arange(lm.config.vocab_size))
    batch = Annotate(logprobs_of(teacher, 1.0), 1.0, 0.0)(every_next_token(lm, [5, 6, 7], 1.0))
    assert batch.advantages.abs().max() < 1e-4


def test_the_policy_loss_is_added_to_the_whole_divergence():
    lm = tiny_lm(0)
    teacher = LiveTeacher(tiny_lm(1).network, torch.arange(lm.config.vocab_size))
    batch = every_next_token(lm, [5, 6, 7], 1.0)
    batch = dataclasses.replace(batch, advantages=torch.linspace(-1, 1, batch.num_targets))
    policy, whole = PolicyLoss(PolicyLossSettings()), LiveLoss(DivergenceSettings(name="reverse_kl"), teacher)
    both = gradient(lm, batch, WithTask(whole, 0.5, policy), 1.0)
    alone = gradient(lm, batch, policy, 1.0)
    halved = gradient(lm, dataclasses.replace(batch, weights=batch.weights / 2), whole, 1.0)
    for total, one, other in zip(both, alone, halved, strict=True):
        assert torch.allclose(total, one + other, atol=1e-5)
