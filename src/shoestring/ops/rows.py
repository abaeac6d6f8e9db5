"""Moving between flat tokens (T, ...) and padded rows (R, L, ...).

The linear layers run on flat tokens, so padding costs them nothing; attention runs on padded rows. Both maps
are one-to-one where it counts, so each backward is a gather too: torch's own indexing backward is a
scatter-add, which took longer than the attention itself (bf16, CPU)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowIndex:
    """to_rows[r, l] is the flat index of row r's token l (0 where padded, see `valid`); to_flat[t] is the
    place r * L + l of token t, for the tokens that these rows hold (`tokens`; None: all, in order)."""

    to_rows: Tensor  # (R, L) int64
    valid: Tensor  # (R, L) bool
    to_flat: Tensor  # (N,) int64
    tokens: Tensor | None  # (N,) int64

    @classmethod
    def build(cls, starts: Tensor, lengths: Tensor, num_tokens: int) -> "RowIndex":
        """starts and lengths (R,) of disjoint spans of a flat batch of `num_tokens`."""
        longest = int(lengths.max())
        offsets = torch.arange(longest, device=starts.device)
        valid = offsets < lengths[:, None]
        to_rows = torch.where(valid, starts[:, None] + offsets, 0)
        tokens = to_rows[valid]
        places = torch.nonzero(valid.flatten()).squeeze(1)
        order = torch.argsort(tokens)
        tokens, places = tokens[order], places[order]
        return cls(to_rows, valid, places, None if len(tokens) == num_tokens else tokens)


class _ToRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, index: RowIndex) -> Tensor:  # type: ignore[override]
        ctx.index, ctx.num_tokens = index, x.shape[0]
        return x.index_select(0, index.to_rows.flatten()).unflatten(0, index.to_rows.shape)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        index: RowIndex = ctx.index
        flat = grad.flatten(0, 1).index_select(0, index.to_flat)
        if index.tokens is not None:
            flat = flat.new_zeros(ctx.num_tokens, *flat.shape[1:]).index_copy_(0, index.tokens, flat)
        return flat, None


class _ToFlat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, index: RowIndex) -> Tensor:  # type: ignore[override]
        ctx.index = index
        return rows.flatten(0, 1).index_select(0, index.to_flat)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        index: RowIndex = ctx.index
        rows = grad.new_zeros(index.valid.numel(), *grad.shape[1:]).index_copy_(0, index.to_flat, grad)
        return rows.unflatten(0, index.valid.shape), None


def to_rows(x: Tensor, index: RowIndex) -> Tensor:
    """x (T, ...) -> (R, L, ...); padded places hold token 0's values and take no gradient."""
    return _ToRows.apply(x, index)  # type: ignore[return-value]


def to_flat(rows: Tensor, index: RowIndex) -> Tensor:
    """rows (R, L, ...) -> (N, ...), the tokens these rows hold, in flat order; padding is dropped."""
    return _ToFlat.apply(rows, index)  # type: ignore[return-value]
