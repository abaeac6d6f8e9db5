"""Whether an update was sane: what its tokens say of sampler, old model, model and reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoestring.rl.correction import correction_factors
from shoestring.rl.loss import log_ratios, old_logprobs
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.ratios import MAX_LOG_RATIO, k3, ratio_of
from shoestring.train.batch import MicroBatch


@dataclass(frozen=True)
class TokenStats:
    """Over all tokens of a step's updates. The model is each update's before it, p_old the one before the
    first, which is the sampler's twin: what parts those two is numerics."""

    mismatch_kl: float  # k3 estimate of KL(sampler || p_old), nats a token
    mismatch_max: float  # largest |log ratio| of those two
    clip_low: float  # share of tokens whose gradient the lower clip took, or whose weight it raised (cispo)
    clip_high: float  # the same of the upper
    ratio_min: float  # of p / p_old, by token or by sequence as the loss has it
    ratio_mean: float
    ratio_max: float
    entropy: float  # -mean log p_old of the sampled tokens: an unbiased estimate, tempered
    kl: float  # to the reference, 0 without one
    overflowed: int  # tokens with a log ratio, to sampler, p_old or reference, past what exp may be taken of
    corrected: float  # share of tokens whose correction was capped, or that it dropped
    sequences: int
    zero_advantage: int  # of the sequences: they have no gradient, but count in the mean


@torch.no_grad()
def token_stats(
    logprobs: Sequence[Tensor], batches: Sequence[MicroBatch], settings: PolicyLossSettings
) -> TokenStats:
    """logprobs[i] (N,): of micro-batch i, under the weights before its update."""
    trainer = torch.cat(list(logprobs))
    sampler = torch.cat([b.sampler_logprobs for b in batches if b.sampler_logprobs is not None])
    advantages = torch.cat([b.advantages for b in batches if b.advantages is not None])
    pairs = list(zip(logprobs, batches, strict=True))
    log_ratio = torch.cat([log_ratios(own, b, settings) for own, b in pairs])
    # recorded, else the update's own: not the sampler's, which it is held against
    old = torch.cat([own if b.old_logprobs is None else b.old_logprobs for own, b in pairs])
    mismatch = old - sampler
    references = [b.reference_logprobs for b in batches if b.reference_logprobs is not None]
    to_reference = trainer - torch.cat(references) if references else torch.zeros_like(trainer)
    low, high = _clipped(log_ratio, advantages, settings)
    ratio = ratio_of(log_ratio)
    far = torch.stack([log_ratio, mismatch, to_reference]).abs().amax(0) > MAX_LOG_RATIO
    sequences, without = _sequences(batches)
    return TokenStats(
        mismatch_kl=k3(sampler, old).mean().item(),
        mismatch_max=mismatch.abs().max().item(),
        clip_low=low.float().mean().item(),
        clip_high=high.float().mean().item(),
        ratio_min=ratio.min().item(),
        ratio_mean=ratio.mean().item(),
        ratio_max=ratio.max().item(),
        entropy=-old.mean().item(),
        kl=k3(to_reference, torch.zeros_like(to_reference)).mean().item(),
        overflowed=int(far.sum()),
        corrected=_corrected(pairs, settings),
        sequences=sequences,
        zero_advantage=without,
    )


def _clipped(log_ratio: Tensor, advantages: Tensor, settings: PolicyLossSettings) -> tuple[Tensor, Tensor]:
    floor = math.log(1 - settings.clip_low) if settings.clip_low < 1 else -math.inf
    low, high = log_ratio < floor, log_ratio > math.log(1 + settings.clip_high)
    if settings.name == "cispo":
        return low, high
    return low & (advantages < 0), high & (advantages > 0)


def _corrected(pairs: list[tuple[Tensor, MicroBatch]], settings: PolicyLossSettings) -> float:
    if settings.correction == "none":
        return 0.0
    touched = [correction_factors(old_logprobs(own, b, settings), b, settings).touched for own, b in pairs]
    return torch.cat(touched).float().mean().item()


def _sequences(batches: Sequence[MicroBatch]) -> tuple[int, int]:
    """How many there are, and how many of them have advantage 0."""
    count = without = 0
    for batch in batches:
        assert batch.advantages is not None
        _, first = np.unique(batch.packed.owners, return_index=True)
        count += len(first)
        without += int((batch.advantages[torch.from_numpy(first)] == 0).sum())
    return count, without
