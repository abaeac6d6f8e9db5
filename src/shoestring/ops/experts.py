"""The routed experts. Tokens are sorted by expert, so each expert's weights are read once and its tokens lie
together; every (token, expert) pair is computed, none is dropped."""

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.linear import weight_gradient
from shoestring.ops.native import Library, library_for
from shoestring.ops.swiglu import silu_mul, silu_mul_plain


def grouped_experts(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """x (T, h), ids (T, K) int64 and weights (T, K) float32 of each token's experts, gate_up (E, 2 I, h), down
    (E, h, I) -> sum_k weights[t, k] * expert_ids[t, k](x[t]), (T, h) in x's dtype."""
    order = torch.argsort(ids.flatten(), stable=True)
    ends = torch.bincount(ids.flatten(), minlength=len(gate_up)).cumsum(0)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    place = place.view(ids.shape)
    made = silu_mul(grouped_linear(spread(x, place), gate_up, ends))
    return combine(grouped_linear(made, down, ends), place, weights)


def grouped_experts_plain(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """The reference: one expert after the other."""
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for expert in range(len(gate_up)):
        token, slot = torch.where(ids == expert)
        made = F.linear(silu_mul_plain(F.linear(x[token], gate_up[expert])), down[expert])
        total = total.index_add(0, token, made.float() * weights[token, slot, None])
    return total.to(x.dtype)


def spread(x: Tensor, place: Tensor) -> Tensor:
    """x (T, h) -> (T K, h): token t's row at place[t, k]."""
    return _Spread.apply(x.contiguous(), place)  # type: ignore[return-value]


def combine(x: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    """x (T K, h) -> (T, h): sum_k weights[t, k] x[place[t, k]]."""
    return _Combine.apply(x.contiguous(), place, weights)  # type: ignore[return-value]


def _spread(x: Tensor, place: Tensor, weights: Tensor | None, other: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weighted rows at their places, and with `other` (T K, h) each pair's dot product (T, K)."""
    (tokens, top_k), size = place.shape, x.shape[1]
    library = library_for(x)
    dots = torch.empty(place.shape if other is not None else 0, device=x.device)
    if library is not None:
        out = x.new_empty(tokens * top_k, size)
        asked = dots if other is not None else None
        library.call("spread_rows", (x,), x, place, weights, other, out, asked, tokens, top_k, size)
        return out, dots
    rows = x[:, None].expand(-1, top_k, -1)
    if other is not None:
        dots = (rows.float() * other[place].float()).sum(-1)
    if weights is not None:
        rows = (rows * weights[..., None]).to(x.dtype)
    return x.new_empty(tokens * top_k, size).index_copy_(0, place.flatten(), rows.flatten(0, 1)), dots


def _combine(x: Tensor, place: Tensor, weights: Tensor | None) -> Tensor:
    (tokens, top_k), size = place.shape, x.shape[1]
    library: Library | None = library_for(x)
    if library is not None:
        out = x.new_empty(tokens, size)
        library.call("combine_rows", (x,), x, place, weights, out, tokens, top_k, size)
        return out
    rows = x[place].float()
    return (rows if weights is None else rows * weights[..., None]).sum(1).to(x.dtype)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, place: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(place)
        return _spread(x, place, None, None)[0]

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        return _combine(grad.contiguous(), ctx.saved_tensors[0], None), None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, place: Tensor, weights: Tensor) -> Tensor:  # type: ignore[override]
        weights = weights.contiguous()
        ctx.save_for_backward(x, place, weights)
        return _combine(x, place, weights)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, place, weights = ctx.saved_tensors
        grad_x, grad_weights = _spread(grad.contiguous(), place, weights, x)
        return grad_x, None, grad_weights


def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """x (M, K) sorted by group, weight (G, N, K), ends (G,) where each group's rows end -> (M, N)."""
    return _GroupedLinear.apply(x, weight, ends)  # type: ignore[return-value]


def _spans(ends: Tensor) -> list[tuple[int, int, int]]:
    """(group, begin, end) of the groups that have rows."""
    after = ends.tolist()
    return [(g, b, e) for g, (b, e) in enumerate(zip([0, *after], after, strict=False)) if e > b]


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:  # type: ignore[override]
        out = x.new_empty(len(x), weight.shape[1])
        ctx.spans = _spans(ends)
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
