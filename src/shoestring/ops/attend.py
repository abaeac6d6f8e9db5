"""Attention kernels. Each fast form stands beside the plain one and is tested equal to it."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def attention_plain(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, scale: float) -> Tensor:
    """The reference, in float32: q (B, T, H, D), k (B, S, Hkv, D), v (B, S, Hkv, Dv), visible (B, T, S) bool
    -> (B, T, H, Dv). Head h reads key head h // (H / Hkv)."""
    rep = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(rep, dim=2), v.repeat_interleave(rep, dim=2)
    scores = torch.einsum("bthd,bshd->bhts", q.float(), k.float()) * scale
    scores = scores.masked_fill(~visible[:, None], -math.inf)
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v.float()).to(q.dtype)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """q (B, T, H, D), k and v (B, T, Hkv, D), each token sees its row up to itself -> (B, T, H, D)."""
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True, scale=scale
    )
    return out.transpose(1, 2)


def prefixed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix_k: Tensor,
    prefix_v: Tensor,
    prefix_lengths: Tensor,
    scale: float,
) -> Tensor:
    """Rows that share a prefix, group by group: q (P, N, L, H, D), k and v (P, N, L, Hkv, D) are N rows for
    each of P prefixes; prefix_k and prefix_v (P, S, Hkv, D) stand once for the whole group, prefix_lengths
    (P,) say how much of S is real. Each token sees its group's prefix and its own row up to itself -> like q.

    The prefix product has N * L * (H / Hkv) rows, so it is one large product instead of N small ones, and its
    gradient is summed over the group by the product itself.
    """
    num_prefixes, rows, length, heads, dim = q.shape
    kv_heads, span = prefix_k.shape[2], prefix_k.shape[1]
    rep = heads // kv_heads
    # (P, Hkv, N, L, rep, D): one matrix for each prefix and key head
    q = q.unflatten(3, (kv_heads, rep)).permute(0, 3, 1, 2, 4, 5)
    by_prefix = q.reshape(num_prefixes * kv_heads, rows * length * rep, dim)
    by_row = q.reshape(num_prefixes * kv_heads * rows, length * rep, dim)
    own_k = k.permute(0, 3, 1, 2, 4).reshape(-1, length, dim)
    own_v = v.permute(0, 3, 1, 2, 4).reshape(-1, length, v.shape[-1])
    shared_k = prefix_k.transpose(1, 2).reshape(-1, span, dim)
    shared_v = prefix_v.transpose(1, 2).reshape(-1, span, v.shape[-1])
    shape = (num_prefixes, kv_heads, rows, length, rep)
    on_prefix, on_own = _prefix_softmax(
        torch.bmm(by_prefix, shared_k.transpose(1, 2)).view(*shape, span),
        torch.bmm(by_row, own_k.transpose(1, 2)).view(*shape, length),
        prefix_lengths,
        scale,
    )
    from_prefix = torch.bmm(on_prefix.view(by_prefix.shape[0], -1, span), shared_v)
    from_own = torch.bmm(on_own.view(by_row.shape[0], -1, length), own_v)
    out = from_prefix.view(*shape, -1) + from_own.view(*shape, -1)
    return out.permute(0, 2, 3, 1, 4, 5).flatten(3, 4)


def _prefix_softmax(
    on_prefix: Tensor, on_own: Tensor, prefix_lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """on_prefix (P, Hkv, N, L, rep, S) and on_own (P, Hkv, N, L, rep, L) are unscaled scores; token l sees
    the first prefix_lengths[p] of S and the first l + 1 of L. -> the joint softmax, 0 where nothing is
    seen."""
    span, length = on_prefix.shape[-1], on_own.shape[-1]
    scores = torch.cat((on_prefix, on_own), dim=-1).float() * scale
    probs = (scores + _hidden_from(prefix_lengths, span, length, on_own.device)).softmax(-1).to(on_own.dtype)
    return probs[..., :span].contiguous(), probs[..., span:].contiguous()


def _hidden_from(prefix_lengths: Tensor, span: int, length: int, device: torch.device) -> Tensor:
    """Additive mask (P, 1, 1, L, 1, S + L): -inf past a prefix's end and on later tokens of the own row."""
    past = torch.arange(span, device=device) >= prefix_lengths[:, None]
    later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    hidden = torch.cat(
        (past[:, None].expand(-1, length, -1), later.expand(len(prefix_lengths), -1, -1)), dim=-1
    )
    zeros = torch.zeros(hidden.shape, device=device)
    return zeros.masked_fill_(hidden, -math.inf)[:, None, None, :, None, :]
