"""Drawing the next token. One uniform number decides each draw, so a sample depends on its own key alone."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from shoestring.ops.native import library_for

_BLOCK = 256  # of the two-level search; 49152 = 192 * 256


def stream_key(seed: int, key: str, sample: int) -> int:
    """A 64-bit key of one completion's random numbers."""
    digest = hashlib.blake2b(f"{seed}\n{key}\n{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniforms(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """keys (R,) uint64 and positions (R,) -> (R,) float64 in [0, 1): SplitMix64 at the position-th step of
    each key's sequence (Steele, Lea, Flood 2014), a counter-based generator without state."""
    with np.errstate(over="ignore"):
        z = keys + (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def sample_plain(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The reference: logits (R, V), uniform (R,) float64 -> ids (R,), logprobs (R,) of the tempered
    distribution. Inverse of the cumulative distribution in float64; temperature 0 is greedy with the raw
    logprob."""
    scaled = logits.double() / (temperature or 1.0)
    logprobs = scaled.log_softmax(-1)
    if temperature == 0:
        ids = logits.argmax(-1)
    else:
        cumulative = logprobs.exp().cumsum(-1)
        target = uniform[:, None] * cumulative[:, -1:]
        ids = torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp_(max=logits.shape[1] - 1)
    return ids, logprobs.gather(1, ids[:, None]).squeeze(1).float()


def sample(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """As `sample_plain`, within rounding, in one pass of exponentials."""
    library = library_for(logits)
    if library is None:
        return sample_blocks(logits, uniform, temperature)
    rows, vocab = logits.shape
    ids, logprobs = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
    draws = uniform.double().contiguous() if temperature else None
    scale = 1.0 / temperature if temperature else 1.0
    library.call("sample", (logits,), logits.contiguous(), draws, ids, logprobs, rows, vocab, scale)
    return ids, logprobs


def sample_blocks(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """In torch operations: sums of blocks, then a search among the blocks, then inside one. softmax +
    multinomial over 49k entries cost as much as the whole model."""
    rows, vocab = logits.shape
    if temperature == 0:
        top, ids = logits.max(-1)
        scaled = logits.float()
        return ids, top.float() - scaled.logsumexp(-1)
    scaled = logits.float()
    if temperature != 1.0:
        scaled = scaled * (1.0 / temperature)
    peak = scaled.amax(-1, keepdim=True)
    weights = (scaled - peak).exp_()
    if vocab % _BLOCK:
        weights = torch.nn.functional.pad(weights, (0, _BLOCK - vocab % _BLOCK))
    blocks = weights.view(rows, -1, _BLOCK)
    ends = blocks.sum(-1).double().cumsum(-1)
    target = uniform[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, target, right=True).clamp_(max=ends.shape[1] - 1)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(rows, device=logits.device), block.squeeze(1)].double().cumsum(-1)
    # rounding may leave the target past the block's end, or on a token of weight 0: take the last with any
    within = torch.searchsorted(inside, (target - before).clamp_(min=0.0), right=True)
    last = (inside < inside[:, -1:]).sum(-1, keepdim=True)
    ids = (block * _BLOCK + torch.minimum(within, last)).squeeze(1)
    chosen = scaled.gather(1, ids[:, None]).squeeze(1)
    return ids, chosen - peak.squeeze(1) - ends[:, -1].log().float()
