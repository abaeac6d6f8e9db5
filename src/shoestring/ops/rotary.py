"""Turning queries and keys by their positions, half-split convention: pair i is (x[i], x[i + D/2])."""

import torch
from torch import Tensor

from shoestring.ops.native import Library, library_for


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (T, H, D), cos and sin (T, 1, D/2) float32 -> rotated x."""
    library = library_for(x)
    if library is None:
        return apply_rope_plain(x, cos, sin)
    x = x.contiguous()
    if torch.is_grad_enabled() and x.requires_grad:
        return _Rope.apply(x, cos, sin, library)  # type: ignore[return-value]
    return _rotated(library, x, cos, sin, 1.0)


def split_rope(
    qkv: Tensor, heads: int, kv_heads: int, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """qkv (T, H + 2 Hkv, D) as the fused product leaves it -> q (T, H, D), k (T, Hkv, D) rotated; v as is."""
    library = library_for(qkv)
    if library is None:
        both = apply_rope_plain(qkv[:, : heads + kv_heads], cos, sin)
        return both[:, :heads], both[:, heads:], qkv[:, heads + kv_heads :]
    qkv = qkv.contiguous()
    if torch.is_grad_enabled() and qkv.requires_grad:
        return _SplitRope.apply(qkv, heads, kv_heads, cos, sin, library)  # type: ignore[return-value]
    return _split(library, qkv, heads, kv_heads, cos, sin)


def apply_rope_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As `apply_rope` for pairs (x[2i], x[2i + 1]), DeepSeek's. The result's pairs lie half-split: queries
    and keys are laid out alike, so no product of them changes."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


def apply_rope_plain(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


def _rotate_into(library: Library, x: Tensor, out: Tensor, cos: Tensor, sin: Tensor, sign: float) -> None:
    """Rows of x and out may lie apart; within a row heads follow each other."""
    rows, heads, dim = x.shape
    assert cos.dtype == sin.dtype == torch.float32 and cos.numel() == sin.numel() == rows * (dim // 2)
    strides = x.stride(0), out.stride(0)
    library.call("rotate", (x,), x, strides[0], out, strides[1], cos, sin, sign, rows, heads, dim)


def _rotated(library: Library, x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    out = torch.empty_like(x)
    _rotate_into(library, x, out, cos, sin, sign)
    return out


def _split(
    library: Library, qkv: Tensor, heads: int, kv_heads: int, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, _, dim = qkv.shape
    q, k = qkv.new_empty(rows, heads, dim), qkv.new_empty(rows, kv_heads, dim)
    _rotate_into(library, qkv[:, :heads], q, cos, sin, 1.0)
    _rotate_into(library, qkv[:, heads : heads + kv_heads], k, cos, sin, 1.0)
    # a copy: a view would keep all of qkv alive in whoever keeps the values
    return q, k, qkv[:, heads + kv_heads :].contiguous()


class _Rope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor, library: Library) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(cos, sin)
        ctx.library = library
        return _rotated(library, x, cos, sin, 1.0)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _rotated(ctx.library, grad.contiguous(), cos, sin, -1.0), None, None, None


class _SplitRope(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx, qkv: Tensor, heads: int, kv_heads: int, cos: Tensor, sin: Tensor, library: Library
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        ctx.library, ctx.heads, ctx.kv_heads = library, heads, kv_heads
        return _split(library, qkv, heads, kv_heads, cos, sin)

    @staticmethod
    def backward(ctx, grad_q: Tensor, grad_k: Tensor, grad_v: Tensor):  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        rows, _, dim = grad_q.shape
        end = ctx.heads + ctx.kv_heads
        grad = grad_q.new_empty(rows, end + ctx.kv_heads, dim)
        _rotate_into(ctx.library, grad_q.contiguous(), grad[:, : ctx.heads], cos, sin, -1.0)
        _rotate_into(ctx.library, grad_k.contiguous(), grad[:, ctx.heads : end], cos, sin, -1.0)
        grad[:, end:] = grad_v
        return grad, None, None, None, None, None
