"""Ways in which a run is broken rather than unlucky, each known by what it leaves behind.

Every check is a function from what a step shows to a `Fault` or None; none of them changes anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoestring.rl.rollout import Group
from shoestring.train.batch import MicroBatch

MISMATCH = 0.01  # nats a token between sampler and trainer; the same weights in bf16 are under 0.001
EXPLODED = 1.0  # nats a token that one update may move the policy; a healthy one moves it by under 0.05


@dataclass(frozen=True)
class Fault:
    """name is one of the docs' list; evidence says what was seen, advice what to do."""

    name: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; {self.advice}"


def end_not_trained(
    groups: Sequence[Group], batches: Sequence[MicroBatch], stop_ids: Sequence[int]
) -> Fault | None:
    """Each reply that ended by itself has its end-of-turn token in the loss, with a weight."""
    ended = sum(not r.reply.cut and r.reward is not None for g in groups for r in g.rollouts)
    trained = sum(
        int(((batch.weights > 0) & _among(batch, stop_ids)).sum()) for batch in batches if len(batch.weights)
    )
    if trained >= ended:
        return None
    return Fault(
        "pad = eos",
        f"{ended} replies ended by themselves and {trained} end-of-turn tokens are in the loss",
        "the model would never learn to stop: give the padding a token of its own",
    )


def disagreeing(mismatch_kl: float, first: bool, temperature: float, fitted: float) -> Fault | None:
    """mismatch_kl: sampler against trainer under the same weights. fitted: the temperature under which the
    trainer's logprobs would fit the sampler's best. first: whether no update of this process came before."""
    if mismatch_kl <= MISMATCH:
        return None
    seen = f"sampler and trainer are {mismatch_kl:.3g} nats a token apart under what should be one policy"
    if abs(fitted / temperature - 1) > 0.05:
        return Fault(
            "temperature on one side",
            f"{seen}; the sampler's tokens fit temperature {fitted:g}, the trainer's is {temperature:g}",
            "use one temperature (and no top_p or top_k) on both sides",
        )
    if first:
        advice = "other numerics or another model on one side: compare their logprobs before training"
        return Fault("sampler and trainer disagree", seen, advice)
    return Fault(
        "stale weights",
        f"{seen}, and they were not before the first update",
        "the generator didn't take the weights that were handed over",
    )


def exploded(drift: float, learning_rate: float) -> Fault | None:
    """drift: nats a token between the policy before an update and after it; not finite counts as far."""
    if drift <= EXPLODED:  # not for NaN
        return None
    return Fault(
        "exploding learning rate",
        f"one update at {learning_rate:.3g} moved the policy by {drift:.3g} nats a token",
        "lower the learning rate",
    )


def _among(batch: MicroBatch, stop_ids: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.isin(batch.packed.targets, list(stop_ids)))
