"""Drawing from part of the vocabulary: what a mask allows, then min_p, top_k and top_p, each row by its own
numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.ops.native import library_for

# Masses are sums of rounded exponentials: one that falls short of top_p by a millionth has reached it, and a
# token is as likely as min_p asks if its logit is within 1e-5 of that. So equal numbers fall on one side.
SHORT_MASS, SHORT_LOGIT = 1e-6, 1e-5


@dataclass(frozen=True)
class Limits:
    """Of R rows. A temperature of 0 is greedy, at temperature 1; 0, 1 and 0 for the others: no limit."""

    temperature: Sequence[float]
    top_k: Sequence[int]
    top_p: Sequence[float]
    min_p: Sequence[float]

    def scale(self, logits: Tensor) -> Tensor:
        """(R, 1): what the logits are divided by."""
        return logits.new_tensor([t or 1.0 for t in self.temperature])[:, None]


def keep_plain(logits: Tensor, limits: Limits) -> Tensor:
    """The reference: logits (R, V) with everything outside at -inf. In this order: tokens less likely than
    min_p of the likeliest go; of the rest, all below the k-th largest; of the rest, all but the smallest set
    of mass >= top_p, of equal ones the first. All at the row's temperature. The likeliest always stays."""
    if not (any(limits.top_k) or any(limits.min_p) or min(limits.top_p) < 1):
        return logits
    words = logits.shape[1]
    ordered, order = logits.double().sort(dim=-1, descending=True, stable=True)
    scale = limits.scale(ordered)
    shares = [math.log(p) - SHORT_LOGIT if p else -math.inf for p in limits.min_p]
    masses = [p * (1 - SHORT_MASS) if p < 1 else math.inf for p in limits.top_p]
    last = torch.tensor([min(k or words, words) - 1 for k in limits.top_k], device=logits.device)
    floor = ordered[:, :1] + scale * ordered.new_tensor(shares)[:, None]
    inside = ordered >= torch.maximum(floor, ordered.gather(1, last[:, None]))
    probs = ordered.masked_fill(~inside, -math.inf).div(scale).softmax(-1)
    inside &= probs.cumsum(-1) - probs < ordered.new_tensor(masses)[:, None]
    return logits.masked_fill(~torch.zeros_like(inside).scatter_(1, order, inside), -math.inf)


def draw_limited_plain(logits: Tensor, uniform: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
    """As `sample_plain`, within the limits -> ids (R,), logprobs (R,) of the distribution that they leave."""
    kept = keep_plain(logits, limits)
    logprobs = (kept.double() / limits.scale(kept).double()).log_softmax(-1)
    cumulative = logprobs.exp().cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, target, right=True).squeeze(1)
    # rounding may leave the target past the end, or on a token of weight 0: the last with any
    ids = torch.minimum(ids, (cumulative < cumulative[:, -1:]).sum(-1))
    greedy = torch.tensor([t == 0 for t in limits.temperature], device=logits.device)
    ids = torch.where(greedy, kept.argmax(-1), ids)
    return ids, logprobs.gather(1, ids[:, None]).squeeze(1).float()


def draw_limited(
    logits: Tensor, uniform: Tensor, limits: Limits, allowed: Sequence[Tensor | None], drop: bool = False
) -> tuple[Tensor, Tensor]:
    """As `draw_limited_plain`, of what each row's (V,) bool mask allows (None: all). The logits (R, V) are
    written to: drop leaves them at -inf wherever a token could not be drawn."""
    masked = [row for row, mask in enumerate(allowed) if mask is not None]
    masks = [mask for mask in allowed if mask is not None]
    together = torch.stack(masks).to(logits.device) if masks else None
    library = library_for(logits) if logits.dtype == torch.float32 and logits.is_contiguous() else None
    if library is None:
        if together is not None:
            logits[masked] = logits[masked].masked_fill_(~together, -math.inf)
        ids, logprobs = draw_limited_plain(logits, uniform, limits)
        if drop:
            logits.copy_(keep_plain(logits, limits))
        return ids, logprobs
    rows, vocab = logits.shape
    ids, logprobs = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
    of_mask = torch.full((rows,), -1)
    of_mask[masked] = torch.arange(len(masked))
    numbers = torch.tensor([limits.temperature, limits.top_p, limits.min_p], dtype=torch.float64)
    top_ks = torch.tensor([min(k, vocab) for k in limits.top_k])
    library.call(
        "draw_limited", (logits,), logits, uniform.double().contiguous(), numbers, top_ks,
        together, of_mask, ids, logprobs, rows, vocab, int(drop),
    )  # fmt: skip
    return ids, logprobs
