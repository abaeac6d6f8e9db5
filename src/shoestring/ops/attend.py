"""Attention kernels. Each fast form stands beside the plain one and is tested equal to it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.native import Library
from shoestring.ops.prefix_softmax import prefix_softmax

SPAN = 32  # tokens of one block of the decode cache (native/decode.cpp)
PRODUCTS_UP_TO = 512  # tokens a row; the kept softmax grows with the square


def attention_plain(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """The reference, in float32: q (B, T, H, D), k and v (B, S, Hkv, D), visible (B, T, S) bool ->
    (B, T, H, D). Head h reads key head h // (H / Hkv)."""
    rep = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(rep, dim=2), v.repeat_interleave(rep, dim=2)
    scores = torch.einsum("bthd,bshd->bhts", q.float(), k.float()) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~visible[:, None], -math.inf)
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v.float()).to(q.dtype)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q (B, T, H, D), k and v (B, T, Hkv, D), each token sees its row up to itself -> (B, T, H, D)."""
    learning = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    if learning and q.device.type == "cpu" and q.shape[1] <= PRODUCTS_UP_TO:
        return causal_products(q, k, v)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True
    )
    return out.transpose(1, 2)


def causal_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same as two batched products around a softmax that is kept for the backward pass. torch's fused
    attention has a backward on the CPU that took 28 % of a training step on rows of 100 tokens."""
    num_rows, length, heads, dim = q.shape
    kv_heads = k.shape[2]
    rep = heads // kv_heads
    queries = q.unflatten(2, (kv_heads, rep)).transpose(1, 2).reshape(-1, length * rep, dim)
    keys, values = (t.transpose(1, 2).reshape(-1, length, dim) for t in (k, v))
    shape = (num_rows, kv_heads, 1, length, rep)
    none = q.new_empty(*shape, 0)
    _, probs = prefix_softmax(
        none,
        torch.bmm(queries, keys.transpose(1, 2)).view(*shape, length),
        torch.zeros(num_rows, dtype=torch.int64, device=q.device),
        1 / math.sqrt(dim),
    )
    out = torch.bmm(probs.view(-1, length * rep, length), values)
    return out.view(num_rows, kv_heads, length, rep, dim).transpose(1, 2).reshape(q.shape)


def prefixed_attention(
    q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor, prefix_lengths: Tensor
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
    own_v = v.permute(0, 3, 1, 2, 4).reshape(-1, length, dim)
    shared_k = prefix_k.transpose(1, 2).reshape(-1, span, dim)
    shared_v = prefix_v.transpose(1, 2).reshape(-1, span, dim)
    shape = (num_prefixes, kv_heads, rows, length, rep)
    on_prefix, on_own = prefix_softmax(
        torch.bmm(by_prefix, shared_k.transpose(1, 2)).view(*shape, span),
        torch.bmm(by_row, own_k.transpose(1, 2)).view(*shape, length),
        prefix_lengths,
        1 / math.sqrt(dim),
    )
    from_prefix = torch.bmm(on_prefix.view(by_prefix.shape[0], -1, span), shared_v)
    from_own = torch.bmm(on_own.view(by_row.shape[0], -1, length), own_v)
    out = from_prefix.view(*shape, dim) + from_own.view(*shape, dim)
    return out.permute(0, 2, 3, 1, 4, 5).flatten(3, 4)


@dataclass(frozen=True)
class DecodeRuns:
    """The slots of a decode step in an order that keeps a group's together, cut into runs: a run's queries
    meet each key of the shared prompt together, and is what one thread takes at a time."""

    order: Tensor  # (A,) int64 slots
    runs: Tensor  # (num_runs, 3) int64: begin and end in `order`, group

    @classmethod
    def build(cls, group_of: list[int], longest: int = 8) -> "DecodeRuns":
        order = sorted(range(len(group_of)), key=group_of.__getitem__)
        runs: list[list[int]] = []
        for place, slot in enumerate(order):
            if runs and runs[-1][2] == group_of[slot] and place - runs[-1][0] < longest:
                runs[-1][1] = place + 1
            else:
                runs.append([place, place + 1, group_of[slot]])
        return cls(torch.tensor(order, dtype=torch.int64), torch.tensor(runs, dtype=torch.int64).view(-1, 3))


@dataclass(frozen=True)
class Level:
    """Keys and values (rows, Hkv, room / SPAN, SPAN * D) of one level of the decode cache; how much of a row
    is real."""

    keys: Tensor
    values: Tensor
    lengths: Tensor  # (rows,) int64


def decode_attention(
    library: Library, q: Tensor, k: Tensor, v: Tensor, prompts: Level, own: Level, runs: DecodeRuns
) -> Tensor:
    """One new token a slot: q (A, H, D), k and v (A, Hkv, D) are put at the end of each slot's own row, then
    every query sees its group's prompt and its own row, the new token included -> (A, H, D). Only real tokens
    are read. The plain version is the batched products of `engine.cache`."""
    active, heads, dim = q.shape
    kv_heads = k.shape[1]
    own_room, prompt_room = own.keys.shape[2] * SPAN, prompts.keys.shape[2] * SPAN
    assert len(runs.order) == active <= own.keys.shape[0]
    assert int(own.lengths[:active].max()) < own_room
    q, k, v, out = q.contiguous(), k.contiguous(), v.contiguous(), torch.empty_like(q)
    library.call(
        "decode", (q,), q, k, v, prompts.keys, prompts.values, own.keys, own.values, prompts.lengths,
        own.lengths, runs.order, runs.runs, len(runs.runs), heads, kv_heads, dim, prompt_room,
        own_room, 1 / math.sqrt(dim), out,
    )  # fmt: skip
    return out


def keep_tokens(
    library: Library, k: Tensor, v: Tensor, level: Level, starts: Tensor, lengths: Tensor, first: int, at: int
) -> None:
    """Tokens starts[i] ... + lengths[i] of k and v (T, Hkv, D) into the level's row first + i, from place
    `at` on."""
    _, kv_heads, dim = k.shape
    room, count = level.keys.shape[2] * SPAN, len(starts)
    assert first + count <= level.keys.shape[0]
    assert not count or at + int(lengths.max()) <= room
    assert not count or int((starts + lengths).max()) <= len(k)
    library.call(
        "keep", (k,), k.contiguous(), v.contiguous(), level.keys, level.values, starts.contiguous(),
        lengths.contiguous(), count, first, at, kv_heads, dim, room,
    )  # fmt: skip
