"""The policy losses. p is the model, p_old it before the step's first update, q the sampler; A a sample's
advantage, w_t a token's weight, which already divides by what the whole step's loss is a mean over.

grpo, dr-grpo, dapo, default   sum_t w_t -min(r_t A, clip(r_t, 1 - low, 1 + high) A),  r_t = p(t) / p_old(t)
gspo                           the same of one ratio a sample, s = exp(mean_t log r_t)
cispo                          sum_t w_t -sg(clip(r_t, 1 - low, 1 + high)) A log p(t)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.rl.correction import correction_factors
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.ratios import k3, ratio_of, sequence_mean
from shoestring.train.batch import MicroBatch


def token_weights(lengths: list[int], average: str, max_tokens: int) -> list[float]:
    """Each sample's weight on its own tokens, for lengths |o_i| of the G samples that count in the whole
    step.

    token_mean:     1 / sum_i |o_i|      every token of the step counts alike (DAPO)
    sequence_mean:  1 / (G |o_i|)        every sample counts alike, long ones less a token (GRPO)
    constant:       1 / (G L)            L = max_tokens: no length bias (Dr. GRPO)
    """
    count = len(lengths)
    if average == "token_mean":
        return [1.0 / sum(lengths)] * count
    if average == "sequence_mean":
        return [1.0 / (count * length) for length in lengths]
    return [1.0 / (count * max_tokens)] * count


def old_logprobs(logprobs: Tensor, batch: MicroBatch, settings: PolicyLossSettings) -> Tensor:
    """log p_old: as recorded where a sampling makes several updates. Else the sampler's, which is taken to be
    the same model; a correction is there to doubt that, and the only update's own logprobs are old ones."""
    if batch.old_logprobs is not None:
        return batch.old_logprobs
    if settings.correction != "none":
        return logprobs.detach()
    assert batch.sampler_logprobs is not None
    return batch.sampler_logprobs


def log_ratios(logprobs: Tensor, batch: MicroBatch, settings: PolicyLossSettings) -> Tensor:
    """(N,): log r_t of each token, or of each token's sequence the mean of them. Not clamped."""
    log_ratio = logprobs - old_logprobs(logprobs, batch, settings)
    return log_ratio if settings.ratio == "token" else sequence_mean(log_ratio, batch.packed)


def clipped(ratio: Tensor, settings: PolicyLossSettings) -> Tensor:
    return ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)


def surrogate(ratio: Tensor, advantages: Tensor, settings: PolicyLossSettings) -> Tensor:
    """min(r A, clip(r) A): a move that has gone far enough in the direction of A gets no gradient."""
    return torch.minimum(ratio * advantages, clipped(ratio, settings) * advantages)


def cispo_surrogate(
    ratio: Tensor, advantages: Tensor, logprobs: Tensor, settings: PolicyLossSettings
) -> Tensor:
    """sg(clip(r)) A log p: the weight is bounded, and no token loses its gradient."""
    return clipped(ratio, settings).detach() * advantages * logprobs


@dataclass(frozen=True)
class PolicyLoss:
    """sum_t w_t [ -c_t surrogate_t + kl_coefficient * k3_t ], c_t = 1 without a correction. A sequence must
    lie whole in its micro-batch."""

    settings: PolicyLossSettings

    def __call__(self, logprobs: Tensor, batch: MicroBatch) -> Tensor:
        settings, advantages = self.settings, batch.advantages
        assert advantages is not None
        ratio = ratio_of(log_ratios(logprobs, batch, settings))
        if settings.name == "cispo":
            gain = cispo_surrogate(ratio, advantages, logprobs, settings)
        else:
            gain = surrogate(ratio, advantages, settings)
        if settings.correction != "none":
            gain = gain * correction_factors(old_logprobs(logprobs, batch, settings), batch, settings).factors
        loss = -gain
        if settings.kl_coefficient:
            assert batch.reference_logprobs is not None
            loss = loss + settings.kl_coefficient * k3(logprobs, batch.reference_logprobs)
        return (loss * batch.weights).sum()
