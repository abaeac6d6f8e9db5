"""Attention contexts: what each query may see. Plain causal rows and packed rows here; the engine's decode
cache keeps the same one-method contract (`models.attention.AttentionContext`)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.models.attention import AttentionContext
from shoestring.ops.attend import causal_attention, prefixed_attention
from shoestring.ops.packed_attention import ROOM_UP_TO, RowParts, packed_attention, packed_library
from shoestring.ops.rows import RowIndex, to_flat, to_rows


@dataclass(frozen=True)
class CausalRows(AttentionContext):
    """B rows of T tokens each, every token sees its row up to itself. Nothing is kept."""

    num_rows: int
    row_length: int

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        shape = (self.num_rows, self.row_length)
        out = causal_attention(q.unflatten(0, shape), k.unflatten(0, shape), v.unflatten(0, shape), scale)
        return out.flatten(0, 1)

    @property
    def row_of(self) -> Tensor:
        return torch.arange(self.num_rows).repeat_interleave(self.row_length)


class PackedRows(AttentionContext):
    """Rows of any length laid end to end over flat tokens, without padding and without sight of each other.

    A row may have a parent: a root row whose whole text comes before it (a group's shared prompt, computed
    once). starts, lengths and parents are (R,) int64, parents -1 for roots; the rows cover all `num_tokens`
    tokens.
    """

    def __init__(self, starts: Tensor, lengths: Tensor, parents: Tensor, num_tokens: int) -> None:
        assert int(lengths.sum()) == num_tokens, "rows must cover the flat batch"
        self.rows = starts, lengths, parents
        self.num_tokens = num_tokens

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        wide, values = q.shape[-1], v.shape[-1]
        library = packed_library(q, k)
        if library is None or values > wide or self._parts.room > ROOM_UP_TO:
            return self._products.attend(q, k, v, scale)
        if values < wide:  # the kernel has one width
            v = F.pad(v, (0, wide - values))
        return packed_attention(library, q, k, v, self._parts, scale)[..., :values]

    @property
    def row_of(self) -> Tensor:
        """A shared beginning counts as a row of its own."""
        return self._row_of

    @cached_property
    def _row_of(self) -> Tensor:
        starts, lengths, _ = self.rows
        lengths = lengths[torch.argsort(starts)]
        return torch.arange(len(starts), device=starts.device).repeat_interleave(lengths)

    @cached_property
    def _parts(self) -> RowParts:
        return RowParts.build(*self.rows)

    @cached_property
    def _products(self) -> "RowProducts":
        return RowProducts(*self.rows, self.num_tokens)


class RowProducts:
    """The same as batched products over padded rows, for a GPU and for rows too long for the kernel."""

    def __init__(self, starts: Tensor, lengths: Tensor, parents: Tensor, num_tokens: int) -> None:
        roots = torch.nonzero(parents < 0).squeeze(1)
        children = torch.nonzero(parents >= 0).squeeze(1)
        self.roots = RowIndex.build(starts[roots], lengths[roots], num_tokens)
        self.root_lengths = lengths[roots]
        self.children: RowIndex | None = None
        if len(children):
            self._index_children(starts, lengths, parents, children, roots, num_tokens)

    def _index_children(
        self,
        starts: Tensor,
        lengths: Tensor,
        parents: Tensor,
        children: Tensor,
        roots: Tensor,
        num_tokens: int,
    ) -> None:
        """Children in a (P, N) grid by parent, N the largest family; empty places have length 0."""
        place_of_root = torch.full((len(parents),), -1, dtype=torch.int64, device=starts.device)
        place_of_root[roots] = torch.arange(len(roots), device=starts.device)
        families = parents[children]
        used, family, sizes = torch.unique(families, return_inverse=True, return_counts=True)
        order = torch.argsort(family, stable=True)
        rank = torch.empty_like(order)
        first = torch.cumsum(sizes, 0) - sizes
        rank[order] = torch.arange(len(order), device=starts.device) - first[family[order]]
        grid_starts = torch.zeros(len(used), int(sizes.max()), dtype=torch.int64, device=starts.device)
        grid_lengths = torch.zeros_like(grid_starts)
        grid_starts[family, rank] = starts[children]
        grid_lengths[family, rank] = lengths[children]
        self.grid = tuple(grid_starts.shape)
        self.parent_places = place_of_root[used]
        self.children = RowIndex.build(grid_starts.flatten(), grid_lengths.flatten(), num_tokens)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        root_k, root_v = to_rows(k, self.roots), to_rows(v, self.roots)
        out = to_flat(causal_attention(to_rows(q, self.roots), root_k, root_v, scale), self.roots)
        if self.children is None:
            return out
        assert self.roots.tokens is not None, "children hold tokens of their own"
        assert self.children.tokens is not None
        own_q, own_k, own_v = (to_rows(t, self.children).unflatten(0, self.grid) for t in (q, k, v))
        own = prefixed_attention(
            own_q,
            own_k,
            own_v,
            root_k.index_select(0, self.parent_places),
            root_v.index_select(0, self.parent_places),
            self.root_lengths[self.parent_places],
            scale,
        )
        joined = out.new_empty(*q.shape[:-1], out.shape[-1])
        joined = joined.index_copy(0, self.roots.tokens, out)
        return joined.index_copy(0, self.children.tokens, to_flat(own.flatten(0, 1), self.children))
