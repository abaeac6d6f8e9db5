"""A GPU's decode step as CUDA graphs: recorded once for so many sequences with so many blocks, then replayed.
Started one by one the thousand kernels of a step of SmolLM2-135M took 38 ms with 336 sequences, in which an
H200 worked for 4 (docs/log.md)."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.cache import PagedCache
from shoestring.models.attention import AttentionContext
from shoestring.models.transformer import Transformer
from shoestring.ops.paged import GATHERED, SPAN, PagedTokens, PlainGroup, keep_plain, paged_attention_plain

SIZES = sorted({part << power for power in range(14) for part in (2, 3)} | {1})  # 1, 2, 3, 4, 6, 8, 12, ..


class FixedPass(AttentionContext):
    """One new token of each sequence, in tensors whose places in memory stay: what they hold decides."""

    def __init__(self, cache: PagedCache, tables: Tensor, places: Tensor) -> None:
        """tables (R, W), places (R,) int64"""
        self.cache = cache
        each = torch.arange(len(places), device=places.device)
        self.tokens = PagedTokens(tables, each, places)
        seen = torch.arange(tables.shape[1] * SPAN, device=places.device) <= places[:, None]
        mask = torch.zeros(seen.shape, device=places.device).masked_fill_(~seen, float("-inf"))
        self.group = PlainGroup(tables, each[:, None], mask[:, None], each, each)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        blocks = self.cache.heads(layer)
        keep_plain(k, blocks[0], self.tokens)
        keep_plain(v, blocks[1], self.tokens)
        return paged_attention_plain(q, blocks, (self.group,), scale)


class DecodeGraph:
    """The step of `rows` sequences with `width` blocks each. Fewer sequences run with the last one's numbers
    again, which write to its places what it writes there itself."""

    def __init__(self, network: Transformer, cache: PagedCache, rows: int, width: int, pool: Any) -> None:
        self.network, self.cache = network, cache
        self.given = np.zeros((rows, width + 2), dtype=np.int64)  # id, place, blocks
        self.fixed = torch.zeros(rows, width + 2, dtype=torch.int64, device=network.device)
        self.graph, self.pool = torch.cuda.CUDAGraph(), pool
        self.hidden: Tensor | None = None  # (rows, hidden_size), made anew by each replay

    def run(self, ids: Sequence[int], tables: Sequence[array], places: Sequence[int]) -> Tensor:
        """-> the states (R, hidden_size), which the next run overwrites."""
        count = len(ids)
        self.given[:count, 0], self.given[:count, 1] = ids, places
        for row, table in zip(self.given, tables, strict=False):
            row[2 : 2 + len(table)] = table
            row[2 + len(table) :] = 0
        self.given[count:] = self.given[count - 1]
        self.fixed.copy_(torch.from_numpy(self.given))
        if self.hidden is None:
            self.hidden = self._record()
        self.graph.replay()
        return self.hidden[:count]

    def _forward(self) -> Tensor:
        ids, places, tables = self.fixed[:, 0], self.fixed[:, 1], self.fixed[:, 2:]
        return self.network(ids, places, cache=FixedPass(self.cache, tables, places)).hidden

    def _record(self) -> Tensor:
        """Once before, outside: libraries make their workspaces when they are first called."""
        stream = torch.cuda.Stream(self.fixed.device)
        stream.wait_stream(torch.cuda.current_stream(self.fixed.device))
        with torch.cuda.stream(stream):
            self._forward()
        torch.cuda.current_stream(self.fixed.device).wait_stream(stream)
        with torch.cuda.graph(self.graph, pool=self.pool, capture_error_mode="thread_local"):
            return self._forward()


class DecodeGraphs:
    """Those recorded so far. They read the cache where it lies: where it has grown they are recorded anew."""

    def __init__(self, network: Transformer, cache: PagedCache) -> None:
        self.network, self.cache = network, cache
        self._graphs: dict[tuple[int, int], DecodeGraph] = {}
        self._moves = -1
        self._pool: Any = None  # the memory that they share: one runs at a time

    @classmethod
    def where_possible(cls, network: Transformer, cache: PagedCache) -> "DecodeGraphs | None":
        """None on a CPU, and for models whose step the GPU doesn't do alone: experts' products have as many
        rows as the router sends them, and absorbed latents are read from copies that move."""
        config = network.config
        if network.device.type != "cuda" or config.n_routed_experts or config.is_mla or network.is_quantized:
            return None
        return cls(network, cache)

    def run(self, ids: Sequence[int], tables: Sequence[array], places: Sequence[int]) -> Tensor | None:
        """The states (R, hidden_size) after one token of each sequence, until the next run; None where so
        much would be gathered at once that starting kernels isn't what a step waits for."""
        rows, width = _size(len(ids)), _size(max(map(len, tables)))
        if rows * width * SPAN > GATHERED:
            return None
        if self._moves != self.cache.store.moves:
            self._graphs.clear()
            self._moves, self._pool = self.cache.store.moves, torch.cuda.graph_pool_handle()
        graph = self._graphs.get((rows, width))
        if graph is None:
            graph = DecodeGraph(self.network, self.cache, rows, width, self._pool)
            self._graphs[rows, width] = graph
        return graph.run(ids, tables, places)


def _size(number: int) -> int:
    return SIZES[bisect_left(SIZES, number)]
