"""Policy losses, each with its formula. rho_t = exp(log pi(t) - log pi_sampler(t)), A the sample's
advantage."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from shoestring.rl.advantage import Scale
from shoestring.settings import Settings
from shoestring.train.batch import MicroBatch

MAX_LOG_RATIO = 20.0  # exp of more overflows k3 in float32; tokens past it are counted


class PolicyLossSettings(Settings):
    """The defaults are DAPO's (2503.14476) without its overlong penalty. The paper's GRPO (2402.03300) is
    average = "sequence_mean", scale = "group_std", clip_high = clip_low, kl_coefficient = 0.04."""

    average: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    scale: Scale = "none"
    clip_low: float = Field(default=0.2, gt=0)
    clip_high: float = Field(default=0.28, gt=0)
    kl_coefficient: float = Field(default=0.0, ge=0)  # beta of the KL to the stage's first model


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


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = reference - logprobs: an unbiased estimate of KL(pi || reference), never
    negative (Schulman). float32, d clamped to +-20."""
    d = (reference - logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return d.exp() - d - 1


@dataclass(frozen=True)
class PolicyLoss:
    """sum_t w_t [ -min(rho_t A, clip(rho_t, 1 - clip_low, 1 + clip_high) A) + kl_coefficient * k3_t ]"""

    settings: PolicyLossSettings

    def __call__(self, logprobs: Tensor, batch: MicroBatch, rows: slice) -> Tensor:
        assert batch.advantages is not None
        assert batch.sampler_logprobs is not None
        advantages, weights = batch.advantages[rows], batch.weights[rows]
        log_ratio = logprobs - batch.sampler_logprobs[rows]
        ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
        clipped = ratio.clamp(1 - self.settings.clip_low, 1 + self.settings.clip_high)
        loss = -torch.minimum(ratio * advantages, clipped * advantages)
        if self.settings.kl_coefficient:
            assert batch.reference_logprobs is not None
            loss = loss + self.settings.kl_coefficient * k3(logprobs, batch.reference_logprobs[rows])
        return (loss * weights).sum()


@dataclass(frozen=True)
class TokenStats:
    """Over all tokens of an update, sampler against trainer under the weights before it."""

    mismatch_kl: float  # k3 estimate of KL(sampler || trainer), nats a token
    mismatch_max: float  # largest |log ratio|
    clip_low: float  # share of tokens whose gradient the lower clip took
    clip_high: float
    entropy: float  # -mean log p of the sampled tokens: an unbiased estimate at temperature 1
    kl: float  # to the reference, 0 without one
    overflowed: int  # tokens whose log ratio was clamped


def token_stats(
    logprobs: list[Tensor], batches: list[MicroBatch], settings: PolicyLossSettings
) -> TokenStats:
    trainer = torch.cat(logprobs)
    sampler = torch.cat([b.sampler_logprobs for b in batches if b.sampler_logprobs is not None])
    advantages = torch.cat([b.advantages for b in batches if b.advantages is not None])
    references = [b.reference_logprobs for b in batches if b.reference_logprobs is not None]
    log_ratio = trainer - sampler
    low = (log_ratio < math.log(1 - settings.clip_low)) & (advantages < 0) if settings.clip_low < 1 else None
    high = (log_ratio > math.log(1 + settings.clip_high)) & (advantages > 0)
    return TokenStats(
        mismatch_kl=k3(sampler, trainer).mean().item(),
        mismatch_max=log_ratio.abs().max().item(),
        clip_low=low.float().mean().item() if low is not None else 0.0,
        clip_high=high.float().mean().item(),
        entropy=-trainer.mean().item(),
        kl=k3(trainer, torch.cat(references)).mean().item() if references else 0.0,
        overflowed=int((log_ratio.abs() > MAX_LOG_RATIO).sum()),
    )
