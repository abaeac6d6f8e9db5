"""The cache's memory: for every layer a tensor of blocks, which grows as blocks are needed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shoestring.ops.hostmemory import mapped_zeros
from shoestring.ops.paged import SPAN

_GROWTH = 1.5  # each time it grows, so that what is there is seldom copied


class BlockStore:
    """Keys and values, or latents alone: for each of `widths` and each layer (blocks, heads, SPAN * width).
    How the tokens of a block lie is the kernel's business (native/decode.cpp); without it in their order."""

    def __init__(
        self, layers: int, heads: int, widths: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.parts = [
            [torch.empty((0, heads, SPAN * width), dtype=dtype, device=device) for _ in range(layers)]
            for width in widths
        ]
        self.moves = 0  # times that it was laid elsewhere in memory
        self._addresses: Tensor | None = None
        self._listed = 0  # `moves` when they were
        self.block_bytes = layers * heads * SPAN * sum(widths) * dtype.itemsize

    @property
    def blocks(self) -> int:
        return self.parts[0][0].shape[0]

    def layer(self, layer: int) -> tuple[Tensor, ...]:
        return tuple(part[layer] for part in self.parts)

    def addresses(self) -> Tensor:
        """(layers, parts) int64: where each layer's blocks lie now."""
        if self._addresses is None or self._listed != self.moves:
            listed = [[tensor.data_ptr() for tensor in layer] for layer in zip(*self.parts, strict=True)]
            self._addresses, self._listed = torch.tensor(listed), self.moves
        return self._addresses

    def grow(self, needed: int, limit: int) -> None:
        """Room for `needed` blocks at least: on a CPU for all of `limit` where it begins, else for half as
        many again. Raises MemoryError."""
        if needed <= self.blocks:
            return
        self.moves += 1
        if self.blocks == 0 and self._map(max(needed, limit)):
            return
        blocks = max(needed, min(limit, int(self.blocks * _GROWTH)))
        for part in self.parts:
            for i, old in enumerate(part):
                new = _zeros(old, blocks)
                new[: len(old)] = old
                part[i] = new

    def _map(self, blocks: int) -> bool:
        """Pages that nobody has written take no memory, so all that there may ever be is mapped at once and
        nothing is copied later: at 64 streams a copy took as long as three steps. False where this can't be
        had, or the address space is short."""
        if self.parts[0][0].device.type != "cpu":
            return False
        try:
            mapped = [[_zeros(old, blocks) for old in part] for part in self.parts]
        except MemoryError:
            return False
        self.parts = mapped
        return True

    @torch.no_grad()
    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Block to block, (from, to); no block is in two pairs' ends."""
        if not pairs:
            return
        device = self.parts[0][0].device
        source, target = torch.tensor(pairs, device=device).unbind(1)
        for part in self.parts:
            for tensor in part:
                tensor.index_copy_(0, target, tensor.index_select(0, source))

    def clear(self) -> None:
        """Give the memory back."""
        self.moves += 1
        for part in self.parts:
            part[:] = [t.new_empty(0, *t.shape[1:]) for t in part]


def _zeros(like: Tensor, blocks: int) -> Tensor:
    """Not whatever lay there: places that nobody sees are multiplied by weight 0, and 0 * nan is nan."""
    shape = (blocks, *like.shape[1:])
    return mapped_zeros(shape, like.dtype) if like.device.type == "cpu" else like.new_zeros(shape)
