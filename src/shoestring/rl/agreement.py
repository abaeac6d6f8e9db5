"""Does the sampler's policy agree with the trainer's, and how far does an update move it? Forward passes over
a few of a step's tokens."""

import torch

from shoestring.rl.ratios import k3
from shoestring.rl.reference import logprobs_of
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.split import parts_within

PROBE_TOKENS = 512
FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)  # of the trainer's temperature
FITS = 0.1  # of the gap at the trainer's own temperature: no more is left where temperature is the reason


def probe_of(batches: list[MicroBatch]) -> MicroBatch:
    """A part of a step's smallest micro-batch, of at most PROBE_TOKENS or a single row."""
    smallest = min(batches, key=lambda batch: batch.num_tokens)
    return parts_within(smallest, PROBE_TOKENS)[0]


def apart(learner: Learner, probe: MicroBatch, temperature: float) -> float:
    """k3 estimate of KL(sampler || model as it is now), nats a token over the probe. Just before an update it
    is the mismatch of the two sides, just after it the update's drift."""
    sampler = probe.sampler_logprobs
    assert sampler is not None
    return k3(sampler, logprobs_of(learner.lm.network, probe, temperature, probe.routing)).mean().item()


@torch.no_grad()
def fitted_temperature(learner: Learner, probe: MicroBatch, temperature: float) -> float:
    """The temperature, of those tried, under which the trainer's logprobs fit the sampler's; the trainer's
    own where none fits far better than that."""
    tried = {factor * temperature: apart(learner, probe, factor * temperature) for factor in FACTORS}
    best = min(tried, key=lambda t: tried[t])
    return best if tried[best] < FITS * tried[temperature] else temperature
