"""Rows of keys and values, or of latents, without a gap: what a decode cache keeps its two levels in."""

from collections.abc import Sequence

import torch

from shoestring.ops.attend import SPAN, Level

_STEP = SPAN  # capacity grows in steps of so many tokens


class Pool:
    """`count` rows of a number of stores with room for `length` tokens: keys and values, or latents alone. A
    store holds a tensor (rows, heads, length / span, span * width) for each layer; rows are added at the end
    and removed by moving the last one into the gap. How the tokens of a span lie is the kernel's business
    (native/decode.cpp); a span of 1 is the plain order."""

    def __init__(
        self,
        layers: int,
        heads: int,
        widths: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        span: int = 1,
    ) -> None:
        self.span = span
        self.stores = [
            [torch.empty((0, heads, 0, span * width), dtype=dtype, device=device) for _ in range(layers)]
            for width in widths
        ]
        self.lengths = torch.zeros(0, dtype=torch.int64, device=device)
        self.count = 0

    @property
    def length(self) -> int:
        return self.stores[0][0].shape[2] * self.span

    def level(self, layer: int) -> Level:
        """Of a pool of keys and values."""
        keys, values = self.stores
        return Level(keys[layer], values[layer], self.lengths)

    def resize(self, rows: int, length: int) -> None:
        """Room for at least so many rows and tokens; what is there is kept."""
        old_rows, heads, old_spans, _ = self.stores[0][0].shape
        if rows <= old_rows and length <= self.length:
            return
        rows, length = max(rows, old_rows), -(-max(length, self.length) // _STEP) * _STEP
        for store in self.stores:
            for i, old in enumerate(store):
                # zeros, not empty: masked places are multiplied by weight 0, and 0 * nan is nan
                new = old.new_zeros(rows, heads, length // self.span, old.shape[3])
                new[: self.count, :, :old_spans] = old[: self.count]
                store[i] = new
        lengths = self.lengths.new_zeros(rows)
        lengths[: self.count] = self.lengths[: self.count]
        self.lengths = lengths

    def clear(self) -> None:
        """Give the memory back: products run over the whole length, so one long row slows all later ones."""
        for store in self.stores:
            store[:] = [t.new_empty(0, t.shape[1], 0, t.shape[3]) for t in store]
        self.lengths = self.lengths[:0]
        self.count = 0

    @torch.no_grad()
    def keep(self, order: list[int]) -> None:
        """Row i becomes what row order[i] was; others are dropped. A row only ever moves to a place of which
        none is read (`fill_gaps`)."""
        moved = [i for i, old in enumerate(order) if i != old]
        if moved:
            device = self.lengths.device
            into, out_of = (
                torch.tensor(moved, device=device),
                torch.tensor([order[i] for i in moved], device=device),
            )
            for tensor in (*(t for store in self.stores for t in store), self.lengths):
                tensor.index_copy_(0, into, tensor.index_select(0, out_of))
        self.count = len(order)


def fill_gaps(count: int, gone: Sequence[int]) -> list[int]:
    """What stands at each place once those of `gone` (falling) are dropped, the last taking each gap."""
    order = list(range(count))
    for place in gone:
        order[place] = order[-1]
        order.pop()
    return order
