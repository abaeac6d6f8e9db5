"""The routed experts of a mixture layer with quantised weights (native/coded_experts.cpp). As in
`ops.quantized` what goes into a product is rounded to 8 bits, and a token's result is the same bits whatever
stands beside it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.native import library_for
from shoestring.ops.quantized import (
    LANES,
    SIZE,
    Groups,
    Quantized,
    dequantize,
    pack,
    quantized_linear_plain,
    round_rows,
)
from shoestring.ops.swiglu import silu_mul_plain


@dataclass(frozen=True, eq=False)
class CodedExperts:
    """All experts' rows in turn: gate_up (E 2 I, h), down (E h, I)."""

    gate_up: Quantized
    down: Quantized
    count: int


def can_code(weight: Tensor) -> bool:
    """weight (E, N, K): whether rows are whole groups, and an expert's are whole panels."""
    return weight.shape[2] % SIZE == 0 and weight.shape[1] % LANES == 0


def pack_experts(weight: Tensor, groups_of: Callable[[Tensor], Groups]) -> Quantized:
    """weight (E, N, K), one expert after the other: of floats there is one expert more at a time."""
    each = [groups_of(expert) for expert in weight]
    mins = [groups.mins for groups in each if groups.mins is not None]
    numbers = torch.cat([groups.numbers for groups in each])
    scales = torch.cat([groups.scales for groups in each])
    return pack(Groups(numbers, scales, torch.cat(mins) if mins else None))


def coded_experts(x: Tensor, ids: Tensor, weights: Tensor, experts: CodedExperts) -> Tensor:
    """x (T, h), ids (T, K) int64 and weights (T, K) float32 of each token's experts -> sum_k weights[t, k] *
    expert_ids[t, k](x[t]), (T, h) in x's dtype."""
    library = library_for(x)
    if library is None:
        return coded_experts_plain(x, ids, weights, experts)
    out = torch.empty_like(x)
    library.call(
        "coded_experts", (x,), x.contiguous(), ids.contiguous(), weights.float().contiguous(),
        experts.gate_up.words, experts.down.words, out, *ids.shape, experts.count,
    )  # fmt: skip
    return out


def coded_experts_plain(x: Tensor, ids: Tensor, weights: Tensor, experts: CodedExperts) -> Tensor:
    """The reference: one expert after the other."""
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    wide, size = (matrix.rows // experts.count for matrix in (experts.gate_up, experts.down))
    for expert in ids.unique().tolist():
        token, slot = torch.where(ids == expert)
        gates = quantized_linear_plain(x[token], experts.gate_up.part(expert * wide, wide), None)
        made = F.linear(round_rows(silu_mul_plain(gates)), dequantize(experts.down.part(expert * size, size)))
        total = total.index_add(0, token, made * weights[token, slot, None])
    return total.to(x.dtype)
