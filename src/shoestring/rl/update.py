"""One sampling's groups made into optimizer steps, one for each mini-batch of them."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from shoestring.rl.batch import make_batches
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.reference import Reference, logprobs_of
from shoestring.rl.rollout import Group
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.token_stats import TokenStats, token_stats
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.loss import HeadLoss, TokenLoss


@dataclass(frozen=True)
class Updated:
    """What a step's updates were, and the micro-batches they saw."""

    metrics: list[Metrics]  # by mini-batch
    batches: list[MicroBatch]  # of all of them
    stats: TokenStats
    further_passes: int  # forward passes over each batch beside the learner's own
    further_s: float

    @property
    def seconds(self) -> float:
        return self.further_s + sum(m.seconds for m in self.metrics)


def share_out(groups: Sequence[Group], minibatches: int) -> list[list[Group]]:
    """Groups in turn, in their order: sizes differ by one at most. Fewer parts where groups are few."""
    count = min(minibatches, len(groups))
    return [list(groups[i::count]) for i in range(count)]


def update_policy(
    learner: Learner,
    reference: Reference | None,
    groups: Sequence[Group],
    settings: GRPOSettings,
    annotate: Callable[[MicroBatch], MicroBatch] | None = None,
    loss_of: TokenLoss | HeadLoss | None = None,
) -> Updated:
    """A step's later mini-batches meet a model that its earlier ones have changed, so p_old is recorded for
    all of them before the first. `annotate` may change what the groups' rewards made of a micro-batch, its
    advantages by token say; `loss_of` stands in for the settings' policy loss. Raises what `Learner.update`
    raises."""
    began = time.perf_counter()
    parts = [
        make_batches(part, settings.loss, settings.max_completion_tokens, settings.micro_batch_tokens)
        for part in share_out(groups, settings.minibatches)
    ]
    if reference is not None:
        parts = [reference.annotate_all(part) for part in parts]
    several = len(parts) > 1
    if several:
        parts = [[_with_old(learner, b, settings.temperature) for b in part] for part in parts]
    if annotate is not None:
        parts = [[annotate(batch) for batch in part] for part in parts]
    further_s = time.perf_counter() - began
    loss_of = loss_of or PolicyLoss(settings.loss)
    metrics: list[Metrics] = []
    logprobs: list[Tensor] = []
    for part in parts:
        metrics.append(learner.update(part, loss_of, settings.temperature))
        logprobs += metrics[-1].logprobs
    batches = [batch for part in parts for batch in part]
    stats = token_stats(logprobs, batches, settings.loss)
    return Updated(metrics, batches, stats, (reference is not None) + several, further_s)


def _with_old(learner: Learner, batch: MicroBatch, temperature: float) -> MicroBatch:
    old = logprobs_of(learner.lm.network, batch, temperature, batch.routing)
    return dataclasses.replace(batch, old_logprobs=old)
