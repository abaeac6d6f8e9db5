"""Sampler and trainer see one distribution: their logprobs agree, whatever the temperature."""

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.origin import Origin
from shoestring.rl.batch import make_batches
from shoestring.rl.loss import PolicyLoss, PolicyLossSettings, token_stats
from shoestring.rl.reference import Reference
from shoestring.rl.rollout import Group, Rollout
from shoestring.rl.rollout import Sequence as Sampled
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.text.message import Reply
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings
from tiny import tiny_lm

SETTINGS = PolicyLossSettings(kl_coefficient=0.1)


def sampled_batches(lm, temperature: float, micro_batch_tokens: int) -> list[MicroBatch]:
    """Three groups of four samples with rewards 1, 0, 0, 0, sampled by the engine."""
    prompts = [lm.tokenizer.encode("what is " + "x" * n) for n in (1, 9, 4)]
    params = SamplingParams(12, temperature, n=4, seed=2)
    problem = Problem("sums", "", "p", "p", {}, Origin("procedural:sums", "CC0-1.0"))
    groups = []
    for prompt, samples in zip(prompts, Engine(lm, 5).generate(prompts, params), strict=True):
        rollouts = [
            Rollout(
                problem,
                Sampled(prompt, c.ids, c.logprobs, 0, f"{i}"),
                Reply(None, ""),
                Verdict(Outcome.WRONG, 0.0),
                float(i == 0),
            )
            for i, c in enumerate(samples)
        ]
        groups.append(Group(problem, "sums", rollouts))
    return make_batches(groups, SETTINGS, 12, micro_batch_tokens)


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
