"""One optimizer step of a reward model over pairs or labels."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.errors import ShoestringError
from shoestring.models.reward_head import RewardNetwork
from shoestring.rl.preference import family_size, last_tokens, packed_scores, pairwise_loss, pointwise_loss
from shoestring.text.message import PackedBatch, Rendered
from shoestring.text.packing import pack, share_prefix, split_by_tokens
from shoestring.train.learner import BAD_STEPS
from shoestring.train.optim import MasterOptimizer, OptimSettings, learning_rate_at
from shoestring.train.state import TrainState


@dataclass(frozen=True)
class PreferenceBatch:
    """Rows in the order of their examples: a pair's chosen one before its rejected one, or a reply with its
    label in `safe` (R,). `weight` is one over the step's examples, so that summing micro-batches is the
    step's mean loss."""

    packed: PackedBatch
    safe: Tensor | None
    weight: float


def make_preference_batches(
    examples: Sequence[Sequence[Rendered]], safe: Sequence[bool] | None, micro_batch_tokens: int
) -> list[PreferenceBatch]:
    """Each example's rows share their prompt, and what its replies begin with alike."""
    families = [share_prefix(rows) for rows in examples]
    groups = split_by_tokens([family_size(family) for family in families], micro_batch_tokens)
    return [
        PreferenceBatch(
            pack([families[i] for i in group]),
            None if safe is None else torch.tensor([safe[i] for i in group]),
            1.0 / len(examples),
        )
        for group in groups
    ]


@dataclass(frozen=True)
class RewardMetrics:
    """Of one update, under the weights before it. scores: of all rows, in the batches' order."""

    loss: float
    grad_norm: float
    learning_rate: float
    seconds: float
    skipped: bool
    scores: list[Tensor]


class RewardLearner:
    """Trains the network in place. Its handle is the Learner's but for what it is fed."""

    def __init__(self, network: RewardNetwork, settings: OptimSettings, total_steps: int) -> None:
        self.network, self.settings, self.total_steps = network, settings, total_steps
        network.requires_grad_(True)
        self.optimizer = MasterOptimizer(network, settings)
        self.step = 0
        self._bad_steps = 0

    def update(self, batches: Sequence[PreferenceBatch]) -> RewardMetrics:
        """One optimizer step over all micro-batches. Raises ShoestringError after three steps in a row whose
        gradient is not finite; such a step changes no weight."""
        began = time.perf_counter()
        rate = learning_rate_at(self.settings, self.step, self.total_steps)
        total, scores = 0.0, []
        for batch in batches:
            found = packed_scores(self.network, batch.packed)
            loss = batch_loss(found, batch)
            loss.backward()
            total += loss.item()
            scores.append(found.detach().cpu())
        norm = self.optimizer.step(rate)
        self.step += 1
        skipped = not math.isfinite(norm)
        self._bad_steps = self._bad_steps + 1 if skipped else 0
        if self._bad_steps == BAD_STEPS:
            raise ShoestringError(
                f"the gradient was not finite in {BAD_STEPS} steps in a row (last at step {self.step}): "
                "start the stage again with a lower learning rate"
            )
        return RewardMetrics(total, norm, rate, time.perf_counter() - began, skipped, scores)

    def state_dict(self) -> TrainState:
        return TrainState(self.step, self._bad_steps, self.optimizer.tensors())

    def load_state_dict(self, state: TrainState) -> None:
        self.optimizer.load_tensors(state.tensors)
        self.step, self._bad_steps = state.step, state.bad_steps


def batch_loss(scores: Tensor, batch: PreferenceBatch) -> Tensor:
    """scores (R,) -> the batch's part () of the step's mean loss."""
    assert len(scores) == len(last_tokens(batch.packed))
    if batch.safe is None:
        chosen, rejected = scores.view(-1, 2).unbind(1)
        return pairwise_loss(chosen, rejected).sum() * batch.weight
    return pointwise_loss(scores, batch.safe.to(scores.device)).sum() * batch.weight
