"""Attention over a paged cache: blocks of SPAN tokens, of which a table lists each sequence's in order. The
kernel (native/decode.cpp) beside the same in torch's products, which gathers each sequence's blocks first."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from shoestring.ops.native import Library

SPAN = 32  # tokens of one block (native/decode.cpp, native/latent.cpp)
RUN = 8  # sequences whose queries meet common keys together
PIECE = 16  # tokens of one sequence that do
GATHERED = 1 << 18  # tokens whose keys are gathered at once, without the kernel


@dataclass(frozen=True)
class PagedTokens:
    """Where a pass's tokens stand: token t at place places[t] (T,) of the sequence whose blocks are row
    rows[t] (T,) of tables (R, W), all int64. It sees the places up to its own."""

    tables: Tensor
    rows: Tensor
    places: Tensor

    @cached_property
    def write_at(self) -> tuple[Tensor, Tensor]:
        """Each token's block and its place in it."""
        return self.tables[self.rows, self.places // SPAN], self.places % SPAN


@dataclass(frozen=True)
class DecodeRuns:
    """The pass's tokens in an order that puts those with common keys side by side, cut into runs: what one
    thread takes at a time."""

    order: Tensor  # (T,) int64 tokens
    runs: Tensor  # (num_runs, 3) int64: begin and end in `order`, how many first blocks all have in common

    @classmethod
    def of_sequences(cls, tables: Sequence[array], places: Sequence[int]) -> "DecodeRuns":
        """One token each, at `places`: what several have in common before the block that holds their own
        place is read once for all of them."""
        order = sorted(range(len(tables)), key=tables.__getitem__)
        common = [
            _common(tables[a], tables[b], min(places[a], places[b]) // SPAN) for a, b in pairwise(order)
        ]
        runs: list[list[int]] = []
        for at in range(len(order)):
            before = common[at - 1] if at else 0
            if before and at - runs[-1][0] < RUN and runs[-1][2] in (before, -1):
                runs[-1][1:] = [at + 1, before]
            else:
                runs.append([at, at + 1, -1])
        return cls(_integers(order), _integers([[a, b, max(shared, 0)] for a, b, shared in runs]))

    @classmethod
    def of_pieces(cls, lengths: Sequence[int], places: Sequence[int], threads: int) -> "DecodeRuns":
        """Tokens end to end, lengths[i] of sequence i from place places[i] on. A token's keys are the first
        of the next one's, so the whole of a run's are read together. In an order whose equal slices, one a
        thread, take about equally long."""
        runs, start = [], 0
        for length, place in zip(lengths, places, strict=True):
            for at in range(0, length, PIECE):
                end = min(at + PIECE, length)
                runs.append((start + at, start + end, (place + end - 1) // SPAN + 1))
            start += length
        falling = sorted(runs, key=lambda run: (run[0] - run[1]) * run[2])
        dealt = [run for thread in range(threads) for run in falling[thread::threads]]
        return cls(torch.arange(start), _integers(dealt))


def _integers(numbers: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def _common(one: array, other: array, most: int) -> int:
    """How many first blocks two tables have in common, `most` at the utmost."""
    if not most or one[0] != other[0]:
        return 0
    differ = np.nonzero(np.asarray(one[:most]) != np.asarray(other[:most]))[0]
    return int(differ[0]) if len(differ) else most


def paged_attention(
    library: Library,
    q: Tensor,
    new: tuple[Tensor, Tensor] | None,
    blocks: tuple[Tensor, Tensor],
    tokens: PagedTokens,
    runs: DecodeRuns,
    scale: float,
) -> Tensor:
    """q (T, H, D) -> (T, H, D). blocks: keys and values (N, Hkv, SPAN * D) in the kernel's order. new: keys
    and values (T, Hkv, D) of the tokens, put to their places first where each is of another sequence; else
    `keep_tokens` has put them there before."""
    heads, dim, kv_heads = *q.shape[1:], blocks[0].shape[1]
    q, out = q.contiguous(), torch.empty_like(q)
    k, v = (t.contiguous() for t in new) if new is not None else (None, None)
    library.call(
        "decode", (q,), q, k, v, *blocks, tokens.tables, tokens.rows, tokens.places, runs.order, runs.runs,
        len(runs.runs), tokens.tables.shape[1], heads, kv_heads, dim, scale, out,
    )  # fmt: skip
    return out


def keep_tokens(
    library: Library, k: Tensor, v: Tensor, blocks: tuple[Tensor, Tensor], tokens: PagedTokens
) -> None:
    """k and v (T, Hkv, D) to their places in the blocks."""
    count, kv_heads, dim = k.shape
    library.call(
        "keep", (k,), k.contiguous(), v.contiguous(), *blocks, tokens.tables, tokens.rows, tokens.places,
        count, tokens.tables.shape[1], kv_heads, dim,
    )  # fmt: skip


def keep_plain(new: Tensor, blocks: Tensor, tokens: PagedTokens) -> None:
    """new (T, heads, D) to its places in blocks (N, heads, SPAN * D), tokens in their order."""
    block, place = tokens.write_at
    blocks.unflatten(2, (SPAN, -1))[block, :, place] = new


@dataclass(frozen=True)
class PlainGroup:
    """Sequences with about equally many tokens in a pass, whose blocks are gathered side by side."""

    blocks: Tensor  # (R, W) int64
    index: Tensor  # (R, M) int64 tokens; where a sequence has fewer its last one stands again
    mask: Tensor  # (R, M, W * SPAN): -inf on what a token doesn't see
    flat: Tensor  # int64, which of the R * M are tokens of their own
    tokens: Tensor  # and which tokens these are

    def gather(self, blocks: Tensor) -> Tensor:
        """blocks (N, heads, SPAN * D) -> (R * heads, W * SPAN, D)"""
        heads, (rows, width) = blocks.shape[1], self.blocks.shape
        each = torch.arange(heads, device=blocks.device)[:, None]
        index = (self.blocks[:, None] * heads + each).flatten()
        found = blocks.flatten(0, 1).index_select(0, index)
        return found.view(rows * heads, width * SPAN, -1)


def plain_groups(tokens: PagedTokens, lengths: Sequence[int]) -> list[PlainGroup]:
    """Of a pass whose tokens lie sequence by sequence, lengths[i] of the i-th."""
    by_size: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for length in lengths:
        by_size.setdefault((length - 1).bit_length(), []).append((start, length))
        start += length
    places = tokens.places.tolist()
    groups = []
    for some in by_size.values():
        part: list[tuple[int, int]] = []
        width = 0
        for begin, length in some:
            wider = max(width, places[begin + length - 1] // SPAN + 1)
            if part and wider * (len(part) + 1) * SPAN > GATHERED:
                groups.append(_plain_group(tokens, part, width))
                part, wider = [], places[begin + length - 1] // SPAN + 1
            part.append((begin, length))
            width = wider
        groups.append(_plain_group(tokens, part, width))
    return groups


def _plain_group(tokens: PagedTokens, part: list[tuple[int, int]], width: int) -> PlainGroup:
    device = tokens.places.device
    starts, lengths = _integers(part).to(device).unbind(1)
    steps = torch.arange(int(lengths.max()), device=device)
    index = starts[:, None] + steps.clamp(max=lengths[:, None] - 1)
    seen = torch.arange(width * SPAN, device=device) <= tokens.places[index][..., None]
    mask = torch.zeros(seen.shape, device=device).masked_fill_(~seen, -math.inf)
    flat = (steps < lengths[:, None]).flatten().nonzero()[:, 0]
    blocks = tokens.tables[tokens.rows[starts], :width]
    return PlainGroup(blocks, index, mask, flat, index.flatten()[flat])


def paged_attention_plain(
    q: Tensor, blocks: tuple[Tensor, Tensor], groups: Sequence[PlainGroup], scale: float
) -> Tensor:
    """q (T, H, D) over keys and values (N, Hkv, SPAN * D), tokens in their order -> (T, H, D)."""
    keys, values = blocks
    heads, kv_heads = q.shape[1], keys.shape[1]
    out = torch.empty_like(q)
    for group in groups:
        rows, most = group.index.shape
        # (R, M, Hkv, rep, D) -> a matrix for each sequence and key head
        own = q[group.index].unflatten(2, (kv_heads, -1)).transpose(1, 2)
        own = own.reshape(rows * kv_heads, -1, q.shape[2])
        scores = torch.bmm(own, group.gather(keys).transpose(1, 2))
        scores = scores.view(rows, kv_heads, most, heads // kv_heads, -1)
        probs = torch.add(group.mask[:, None, :, None], scores, alpha=scale).softmax(-1).to(q.dtype)
        mixed = torch.bmm(probs.view(rows * kv_heads, -1, probs.shape[-1]), group.gather(values))
        mixed = mixed.view(rows, kv_heads, most, -1, q.shape[2]).transpose(1, 2)
        out[group.tokens] = mixed.reshape(rows * most, heads, -1)[group.flat]
    return out


def paged_latent_plain(
    q: Tensor, blocks: Tensor, groups: Sequence[PlainGroup], rank: int, scale: float
) -> Tensor:
    """q (T, H, W) over latents (N, 1, SPAN * W) -> (T, H, rank): the weighted sum of their first numbers."""
    heads = q.shape[1]
    out = q.new_empty(*q.shape[:2], rank)
    for group in groups:
        rows, most = group.index.shape
        latents = group.gather(blocks)
        scores = torch.bmm(q[group.index].view(rows, most * heads, -1), latents.transpose(1, 2))
        scores = scores.view(rows, most, heads, -1)
        probs = torch.add(group.mask[:, :, None], scores, alpha=scale).softmax(-1).to(q.dtype)
        # the whole width, of which the rotary end is dropped: a product with contiguous rows costs less than
        # one with the latents cut out of them
        mixed = torch.bmm(probs.view(rows, most * heads, -1), latents)[..., :rank]
        out[group.tokens] = mixed.reshape(rows * most, heads, rank)[group.flat]
    return out
