"""The two passes over the vocabulary that training needs, each written to touch the logits as seldom as it can."""

import torch
from torch import Tensor


def target_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """logits (N, V), targets (N,) -> log softmax(logits / temperature)[targets] and the normalisers (logsumexp of
    the tempered logits), both (N,) float32."""
    scaled = logits.float()
    if temperature != 1.0:
        scaled = scaled / temperature
    normalizer = scaled.logsumexp(-1)
    return scaled.gather(1, targets[:, None]).squeeze(1) - normalizer, normalizer


def softmax_gradient_(
    logits: Tensor, normalizer: Tensor, targets: Tensor, slope: Tensor, temperature: float, out: Tensor
) -> None:
    """out (N, V) = d loss / d logits = slope * (onehot(targets) - softmax(logits / temperature)) / temperature."""
    scaled = logits.float()
    if temperature != 1.0:
        scaled = scaled / temperature
    gradient = scaled.sub_(normalizer[:, None]).exp_()
    slope = slope / temperature
    gradient.mul_(-slope[:, None])
    gradient[torch.arange(len(targets), device=logits.device), targets] += slope
    out.copy_(gradient)
