"""Ratios of two models' probabilities, of tokens and of whole sequences, in float32 and kept finite."""

import torch
from torch import Tensor

from shoestring.text.message import PackedBatch

MAX_LOG_RATIO = 20.0  # exp of more overflows k3 in float32; tokens past it are counted


def ratio_of(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = reference - logprobs: an unbiased estimate of KL(pi || reference), never
    negative (Schulman). float32, d clamped to +-20."""
    d = (reference - logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return d.exp() - d - 1


def sequence_sum(values: Tensor, packed: PackedBatch) -> Tensor:
    """values (N,) of the targets -> (N,): at each the sum over the sequence that it belongs to."""
    owners = torch.from_numpy(packed.owners).to(values.device)
    totals = values.new_zeros(int(packed.owners.max()) + 1)
    return totals.index_add(0, owners, values)[owners]


def sequence_mean(values: Tensor, packed: PackedBatch) -> Tensor:
    return sequence_sum(values, packed) / sequence_sum(torch.ones_like(values), packed)
