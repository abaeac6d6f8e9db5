"""The likeliest tokens at a place, and what the model makes of a prompt's own tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shoestring.models.transformer import Transformer
from shoestring.ops.head import target_logprobs

BLOCK = 256
LOGITS_AT_ONCE = 1 << 22  # 16 MB in float32


def likeliest(logits: Tensor, counts: Sequence[int]) -> list[dict[int, float]]:
    """logits (R, V) -> of each row the counts[r] likeliest tokens that can come at all, with their logprobs,
    in falling order."""
    values, ids = _largest(logits, min(max(counts), logits.shape[1]))
    logprobs = values - logits.logsumexp(-1, keepdim=True)
    rows = zip(ids.tolist(), logprobs.tolist(), counts, strict=True)
    return [
        {token: p for token, p in zip(own[:count], likely[:count], strict=True) if p > -float("inf")}
        for own, likely, count in rows
    ]


def _largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`logits.topk(count)`, in two steps where it pays: the largest lie in the blocks with the largest
    maxima. torch's own over 49k entries took longer than the head."""
    rows, words = logits.shape
    if count * BLOCK * 2 > words:
        return logits.topk(count, dim=-1)
    short = -words % BLOCK
    blocks = torch.nn.functional.pad(logits, (0, short), value=-float("inf")) if short else logits
    blocks = blocks.view(rows, -1, BLOCK)
    chosen = blocks.amax(-1).topk(count, dim=-1).indices
    inside = blocks.gather(1, chosen[..., None].expand(-1, -1, BLOCK)).flatten(1)
    values, at = inside.topk(count, dim=-1)
    return values, chosen.gather(1, at // BLOCK) * BLOCK + at % BLOCK


@torch.no_grad()
def prompt_logprobs(
    network: Transformer, hidden: Tensor, targets: Sequence[int], top: int
) -> list[dict[int, float]]:
    """hidden (T, d) of a prompt's tokens, or of some, and the tokens that follow each of them -> for each of
    those its logprob under the raw distribution, then the `top` likeliest. Some rows at a time, so memory
    doesn't grow with the prompt."""
    following = torch.tensor(targets, device=hidden.device)
    step = max(1, LOGITS_AT_ONCE // network.config.vocab_size)
    found: list[dict[int, float]] = []
    for start in range(0, len(targets), step):
        own = following[start : start + step]
        logits = network.head(hidden[start : start + step])
        logprobs, _ = target_logprobs(logits, own, 1.0)
        pairs = [{t: p} for t, p in zip(own.tolist(), logprobs.tolist(), strict=True)]
        if top:
            tops = likeliest(logits, [top] * len(own))
            pairs = [pair | best | pair for pair, best in zip(pairs, tops, strict=True)]
        found += pairs
    return found
