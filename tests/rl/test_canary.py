"""The two throw-away updates before the first step: what a broken learner leaves in them."""

import dataclasses

import pytest
import torch

from groups import sampled_batches
from shoestring.rl.canary import canaries
from shoestring.rl.reference import logprobs_of
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings
from tiny import tiny_lm


def learner_and_batch(rate: float) -> tuple[Learner, MicroBatch]:
    lm = tiny_lm()
    (batch,) = sampled_batches(lm, 1.0, 1 << 20)
    learner = Learner(lm, OptimSettings(learning_rate=rate, warmup_steps=5), 10)
    return learner, dataclasses.replace(batch, advantages=torch.ones_like(batch.weights))


def named(learner: Learner, batch: MicroBatch) -> list[str]:
    return [fault.name for fault in canaries(learner, batch, 1.0)]


def test_a_healthy_learner_sings_and_is_put_back():
    learner, batch = learner_and_batch(1e-3)
    before, rate = logprobs_of(learner.lm.network, batch, 1.0), learner.settings
    assert named(learner, batch) == []
    assert learner.settings == rate
    assert torch.equal(logprobs_of(learner.lm.network, batch, 1.0), before)
    assert learner.step == 0


def test_a_wrong_sign(monkeypatch):
    learner, batch = learner_and_batch(1e-3)
    update = learner.update

    def against(batches, *args):
        return update([dataclasses.replace(b, advantages=-b.advantages) for b in batches], *args)

    monkeypatch.setattr(learner, "update", against)
    assert named(learner, batch) == ["a rewarded token becomes less likely"]


def test_a_first_step_that_goes_too_far_is_no_wrong_sign(monkeypatch):
    """What helps at 0.3 of the rate and hurts at the whole of it."""
    learner, batch = learner_and_batch(1e-3)
    update = learner.update

    def overshoots(batches, *args):
        away = -1.0 if learner.settings.learning_rate > 0.5e-3 else 1.0
        return update([dataclasses.replace(b, advantages=away * b.advantages) for b in batches], *args)

    monkeypatch.setattr(learner, "update", overshoots)
    assert named(learner, batch) == []


@pytest.mark.parametrize(
    ("fault", "name"),
    [("frozen", "an update changes nothing"), ("leak", "an update at learning rate 0 changes the model")],
)
def test_what_writes_to_the_weights(monkeypatch, fault, name):
    learner, batch = learner_and_batch(1e-3)
    weight = next(learner.lm.network.parameters())

    def broken(*args):
        if fault == "leak":
            with torch.no_grad():
                weight.mul_(1.01)

    monkeypatch.setattr(learner, "update", broken)
    assert name in named(learner, batch)


def test_a_rate_that_breaks_the_model_has_its_own_name():
    learner, batch = learner_and_batch(3.0)
    assert named(learner, batch) == ["exploding learning rate"]
