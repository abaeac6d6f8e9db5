"""The routed experts. Tokens are sorted by expert, so each expert's weights are read once and its tokens lie
together; every (token, expert) pair is computed, none is dropped."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.linear import weight_gradient
from shoestring.ops.native import Library, library_for
from shoestring.ops.swiglu import silu_mul, silu_mul_plain


@dataclass(frozen=True)
class Layout:
    """Where each (token, expert) pair lies: expert e's rows are ends[e - 1] : ends[e], the last few of them
    empty. A product compiles itself anew for every number of rows it meets (10 ms, more than it takes), so
    an expert's rows are filled up to one of few numbers."""

    place: Tensor  # (T, K) int64
    ends: list[int]  # (E,)
    empty: Tensor  # int64, rows of no token

    @classmethod
    def of(cls, ids: Tensor, experts: int) -> "Layout":
        """ids (T, K) int64."""
        flat = ids.flatten()
        counts = torch.bincount(flat, minlength=experts)
        step = _step(len(flat) / experts)
        room = (counts + step - 1) // step * step
        ends = room.cumsum(0)
        order = torch.argsort(flat, stable=True)
        firsts = ends - room - (counts.cumsum(0) - counts)  # of an expert's place over its sorted number
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=ids.device) + firsts[flat[order]]
        filled, stops = (ends - room + counts).tolist(), ends.tolist()
        gaps = [torch.arange(a, b) for a, b in zip(filled, stops, strict=True) if b > a]
        empty = torch.cat(gaps) if gaps else torch.empty(0, dtype=torch.int64)
        return cls(place.view(ids.shape), stops, empty.to(ids.device))


def _step(mean: float) -> int:
    """A power of two of about 1 / 16 of the mean: 3 % more rows on average, some 16 different numbers."""
    return 1 << max(0, int(mean / 16).bit_length() - 1)


def grouped_experts(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """x (T, h), ids (T, K) int64 and weights (T, K) float32 of each token's experts, gate_up (E, 2 I, h),
    down (E, h, I) -> sum_k weights[t, k] * expert_ids[t, k](x[t]), (T, h) in x's dtype."""
    layout = Layout.of(ids, len(gate_up))
    made = silu_mul(grouped_linear(spread(x, layout), gate_up, layout.ends))
    return combine(grouped_linear(made, down, layout.ends), layout, weights)


def grouped_experts_plain(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """The reference: one expert after the other."""
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for expert in range(len(gate_up)):
        token, slot = torch.where(ids == expert)
        made = F.linear(silu_mul_plain(F.linear(x[token], gate_up[expert])), down[expert])
        total = total.index_add(0, token, made.float() * weights[token, slot, None])
    return total.to(x.dtype)


def spread(x: Tensor, layout: Layout) -> Tensor:
    """x (T, h) -> (rows, h): token t's row at place[t, k], zeros where no token is."""
    return _Spread.apply(x.contiguous(), layout)  # type: ignore[return-value]


def combine(x: Tensor, layout: Layout, weights: Tensor) -> Tensor:
    """x (rows, h) -> (T, h): sum_k weights[t, k] x[place[t, k]]."""
    return _Combine.apply(x.contiguous(), layout, weights)  # type: ignore[return-value]


def _spread(x: Tensor, layout: Layout, weights: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weighted rows at their places, and with `other` (rows, h) each pair's dot product (T, K)."""
    place, size = layout.place, x.shape[1]
    tokens, top_k = place.shape
    library = library_for(x)
    dots = torch.empty(place.shape if other is not None else 0, device=x.device)
    out = x.new_empty(layout.ends[-1], size).index_fill_(0, layout.empty, 0)
    if library is not None:
        asked = dots if other is not None else None
        library.call("spread_rows", (x,), x, place, weights, other, out, asked, tokens, top_k, size)
        return out, dots
    rows = x[:, None].expand(-1, top_k, -1)
    if other is not None:
        dots = (rows.float() * other[place].float()).sum(-1)
    if weights is not None:
        rows = (rows * weights[..., None]).to(x.dtype)
    return out.index_copy_(0, place.flatten(), rows.flatten(0, 1)), dots


def _combine(x: Tensor, layout: Layout, weights: Tensor | None) -> Tensor:
    place, size = layout.place, x.shape[1]
    tokens, top_k = place.shape
    library: Library | None = library_for(x)
    if library is not None:
        out = x.new_empty(tokens, size)
        library.call("combine_rows", (x,), x, place, weights, out, tokens, top_k, size)
        return out
    rows = x[place].float()
    return (rows if weights is None else rows * weights[..., None]).sum(1).to(x.dtype)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, layout: Layout) -> Tensor:  # type: ignore[override]
        ctx.layout = layout
        return _spread(x, layout, None, None)[0]

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        return _combine(grad.contiguous(), ctx.layout, None), None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, layout: Layout, weights: Tensor) -> Tensor:  # type: ignore[override]
        weights = weights.contiguous()
        ctx.save_for_backward(x, weights)
        ctx.layout = layout
        return _combine(x, layout, weights)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, weights = ctx.saved_tensors
        grad_x, grad_weights = _spread(grad.contiguous(), ctx.layout, weights, x)
        return grad_x, None, grad_weights


def grouped_linear(x: Tensor, weight: Tensor, ends: Sequence[int]) -> Tensor:
    """x (M, K) sorted by group, weight (G, N, K), ends (G,) where each group's rows end -> (M, N)."""
    return _GroupedLinear.apply(x, weight, ends)  # type: ignore[return-value]


def group_spans(ends: Sequence[int]) -> list[tuple[int, int, int]]:
    """(group, begin, end) of the groups that have rows."""
    return [(g, b, e) for g, (b, e) in enumerate(zip([0, *ends], ends, strict=False)) if e > b]


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, ends: Sequence[int]) -> Tensor:  # type: ignore[override]
        out = x.new_empty(len(x), weight.shape[1])
        ctx.spans = group_spans(ends)
        for group, begin, end in ctx.spans:
            torch.mm(x[begin:end], weight[group].t(), out=out[begin:end])
        ctx.save_for_backward(x, weight)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for group, begin, end in ctx.spans:
            if grad_x is not None:
                torch.mm(grad[begin:end], weight[group], out=grad_x[begin:end])
            if grad_weight is not None:
                grad_weight[group] = weight_gradient(grad[begin:end], x[begin:end])
        return grad_x, grad_weight, None
