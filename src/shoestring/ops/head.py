"""The two passes over the vocabulary that training needs, each written to touch the logits as seldom as it
can."""

import torch
from torch import Tensor

from shoestring.ops.native import library_for


def target_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """logits (N, V), targets (N,) -> log softmax(logits / temperature)[targets] and the normalisers
    (logsumexp of the tempered logits), both (N,) float32."""
    library = None if logits.requires_grad else library_for(logits)
    if library is None:
        return target_logprobs_plain(logits, targets, temperature)
    rows, vocab = logits.shape
    logits, targets = logits.contiguous(), _checked(targets, vocab)
    chosen, normalizer = torch.empty(rows), torch.empty(rows)
    library.call(
        "target_logprobs", (logits,), logits, targets, chosen, normalizer, rows, vocab, 1.0 / temperature
    )
    return chosen, normalizer


def softmax_gradient_(
    logits: Tensor, normalizer: Tensor, targets: Tensor, slope: Tensor, temperature: float, out: Tensor
) -> None:
    """out (N, V) = d loss / d logits = slope * (onehot(targets) - softmax(logits / temperature)) /
    temperature. `out` may be the logits themselves."""
    library = library_for(logits, out) if logits.dtype == out.dtype and out.is_contiguous() else None
    if library is None:
        return softmax_gradient_plain_(logits, normalizer, targets, slope, temperature, out)
    rows, vocab = logits.shape
    logits, targets = logits.contiguous(), _checked(targets, vocab)
    library.call(
        "softmax_gradient", (logits,), logits, normalizer.contiguous(), targets, slope.float().contiguous(),
        out, rows, vocab, 1.0 / temperature,
    )  # fmt: skip


def target_logprobs_plain(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scaled = logits.float()
    if temperature != 1.0:
        scaled = scaled / temperature
    normalizer = scaled.logsumexp(-1)
    return scaled.gather(1, targets[:, None]).squeeze(1) - normalizer, normalizer


def softmax_gradient_plain_(
    logits: Tensor, normalizer: Tensor, targets: Tensor, slope: Tensor, temperature: float, out: Tensor
) -> None:
    scaled = logits.float()
    if temperature != 1.0:
        scaled = scaled / temperature
    gradient = (scaled - normalizer[:, None]).exp_()
    slope = slope / temperature
    gradient.mul_(-slope[:, None])
    gradient[torch.arange(len(targets), device=logits.device), targets] += slope
    out.copy_(gradient)


def _checked(targets: Tensor, vocab: int) -> Tensor:
    """The kernels index without looking."""
    targets = targets.long().contiguous()
    assert not len(targets) or (int(targets.min()) >= 0 and int(targets.max()) < vocab), (
        "a target is no token"
    )
    return targets
