"""What is done about a sampler q whose numerics aren't the trainer's: its tokens are weighted by
c = p_old / q, kept within bounds.

token_tis, sequence_tis     min(c, C): truncated importance sampling
token_mask, sequence_mask   c within [1/C, C], outside it 0: the token, or the whole sequence, is dropped

c of a token has little variance and some bias, c of a sequence (the product of its tokens') the reverse.
"""

from dataclasses import dataclass

from torch import Tensor

from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.ratios import ratio_of, sequence_sum
from shoestring.train.batch import MicroBatch


@dataclass(frozen=True)
class Corrected:
    factors: Tensor  # (N,) float32, without a gradient
    touched: Tensor  # (N,) bool: capped, or dropped


def correction_factors(old: Tensor, batch: MicroBatch, settings: PolicyLossSettings) -> Corrected:
    """old (N,): log p_old of the batch's targets."""
    assert batch.sampler_logprobs is not None
    level, kind = settings.correction.split("_")
    log_factor = old - batch.sampler_logprobs
    if level == "sequence":
        log_factor = sequence_sum(log_factor, batch.packed)
    factor = ratio_of(log_factor)
    cap = settings.correction_cap
    if kind == "tis":
        return Corrected(factor.clamp(max=cap), factor > cap)
    outside = (factor > cap) | (factor < 1 / cap)
    return Corrected(factor.masked_fill(outside, 0.0), outside)
