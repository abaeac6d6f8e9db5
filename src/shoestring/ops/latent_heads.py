"""Latent attention: whole queries, keys and values from what its up-projections leave; one decode step."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from shoestring.ops.native import Library, library_for
from shoestring.ops.paged import PagedTokens
from shoestring.ops.rotary import apply_rope_interleaved, apply_rope_plain


@dataclass(frozen=True)
class HeadWidths:
    """Of each head: what doesn't turn, what does, its value. interleaved: a pair is (x[2i], x[2i + 1])."""

    nope: int
    rope: int
    value: int
    interleaved: bool


def latent_heads(
    queries: Tensor, expanded: Tensor, key: Tensor, cos: Tensor, sin: Tensor, widths: HeadWidths
) -> tuple[Tensor, Tensor, Tensor]:
    """queries (T, H, nope + rope), expanded (T, H, nope + value), the shared key (T, rope), cos and sin
    (T, 1, rope / 2) -> q and k (T, H, nope + rope), the rotary end turned, and v (T, H, value)."""
    library = library_for(queries) if queries.dtype == expanded.dtype == key.dtype else None
    if library is None:
        return latent_heads_plain(queries, expanded, key, cos, sin, widths)
    queries, expanded = queries.contiguous(), expanded.contiguous()
    if key.stride(1) != 1:
        key = key.contiguous()
    if torch.is_grad_enabled() and (queries.requires_grad or expanded.requires_grad or key.requires_grad):
        return _LatentHeads.apply(queries, expanded, key, cos, sin, widths, library)  # type: ignore[return-value]
    return _forward(library, queries, expanded, key, cos, sin, widths)


def latent_heads_plain(
    queries: Tensor, expanded: Tensor, key: Tensor, cos: Tensor, sin: Tensor, widths: HeadWidths
) -> tuple[Tensor, Tensor, Tensor]:
    rotate = apply_rope_interleaved if widths.interleaved else apply_rope_plain
    q_nope, q_rope = queries.split((widths.nope, widths.rope), dim=-1)
    k_nope, v = expanded.split((widths.nope, widths.value), dim=-1)
    turned = rotate(key[:, None], cos, sin).expand(-1, queries.shape[1], -1)
    return torch.cat((q_nope, rotate(q_rope, cos, sin)), dim=-1), torch.cat((k_nope, turned), dim=-1), v


def _numbers(queries: Tensor, widths: HeadWidths) -> tuple[int, ...]:
    rows, heads, _ = queries.shape
    return rows, heads, widths.nope, widths.rope, widths.value, int(widths.interleaved)


def _forward(
    library: Library,
    queries: Tensor,
    expanded: Tensor,
    key: Tensor,
    cos: Tensor,
    sin: Tensor,
    widths: HeadWidths,
) -> tuple[Tensor, Tensor, Tensor]:
    q, k = torch.empty_like(queries), torch.empty_like(queries)
    v = queries.new_empty(*queries.shape[:2], widths.value)
    library.call(
        "latent_heads", (q,), queries, expanded, key, key.stride(0), cos, sin, q, k, v,
        *_numbers(queries, widths),
    )  # fmt: skip
    return q, k, v


class _LatentHeads(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx,
        queries: Tensor,
        expanded: Tensor,
        key: Tensor,
        cos: Tensor,
        sin: Tensor,
        widths: HeadWidths,
        library: Library,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        ctx.widths, ctx.library, ctx.key_shape = widths, library, key.shape
        return _forward(library, queries, expanded, key, cos, sin, widths)

    @staticmethod
    def backward(ctx, grad_q: Tensor, grad_k: Tensor, grad_v: Tensor):  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        widths: HeadWidths = ctx.widths
        grad_q = grad_q.contiguous()
        grad_queries = torch.empty_like(grad_q)
        grad_expanded = grad_q.new_empty(*grad_q.shape[:2], widths.nope + widths.value)
        grad_key = grad_q.new_empty(ctx.key_shape)
        ctx.library.call(
            "latent_heads_backward", (grad_q,), grad_q, grad_k.contiguous(), grad_v.contiguous(), cos, sin,
            grad_queries, grad_expanded, grad_key, *_numbers(grad_q, widths),
        )  # fmt: skip
        return grad_queries, grad_expanded, grad_key, None, None, None, None


class LatentBlocks(NamedTuple):
    """What a step reads and writes: blocks (N, 1, SPAN * W) of which W is rank + rope, and where the step's
    tokens stand in them."""

    library: Library
    blocks: Tensor
    tokens: PagedTokens


def latent_decode(
    queries: Tensor,
    latent: Tensor,
    key: Tensor,
    norm: tuple[Tensor, float],
    rope: tuple[Tensor, Tensor],
    up: tuple[Tensor, Tensor],
    cache: LatentBlocks,
    widths: HeadWidths,
    scale: float,
) -> Tensor:
    """One absorbed step of T tokens: queries (T, H, nope + rope), latent (T, rank) before its norm (weight,
    eps), key (T, rope) not rotated; rows of both may lie apart. All are kept before any is read. up: W_UK (H,
    rank, nope) and W_UV (H, value, rank) -> (T, H, value). The plain version is `models.mla` with
    `ops.paged.paged_latent_plain`."""
    (keys_up, values_up), (weight, eps) = up, norm
    count, heads, _ = queries.shape
    rank, tokens = latent.shape[1], cache.tokens
    assert cache.blocks.is_contiguous() and queries.is_contiguous() and len(tokens.rows) == count
    assert keys_up.is_contiguous() and values_up[0].is_contiguous()
    assert latent.stride(1) == key.stride(1) == 1
    out = queries.new_empty(count, heads, widths.value)
    cache.library.call(
        "latent_decode", (queries,), queries, latent, key, weight, *rope, keys_up, values_up, cache.blocks,
        tokens.tables, tokens.rows, tokens.places, out, latent.stride(0), key.stride(0), values_up.stride(0),
        count, tokens.tables.shape[1], rank, heads, widths.nope, widths.rope, widths.value,
        int(widths.interleaved), eps, scale,
    )  # fmt: skip
    return out
