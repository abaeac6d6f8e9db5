"""A block of the plain decoder in two native calls, before attention and after it. What they stand for is
`models.block.Block`, whose tests hold them equal."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, UntypedStorage

from shoestring.ops.native import Library
from shoestring.ops.paged import DecodeRuns, PagedTokens
from shoestring.ops.panels import COLUMNS, Panels
from shoestring.ops.quantized import LANES, Quantized, matrix_words


@dataclass(frozen=True)
class BlockShape:
    heads: int
    kv_heads: int
    dim: int
    eps: float


@dataclass(frozen=True)
class Product:
    """A matrix (N, K), quantised, in panels or plain, and its bias."""

    weight: Quantized | Panels | Tensor
    bias: Tensor | None

    def words(self) -> list[int]:
        weight = self.weight
        if isinstance(weight, Quantized):
            return matrix_words(weight, self.bias)
        bias = 0 if self.bias is None else self.bias.data_ptr()
        if isinstance(weight, Panels):
            return [16, weight.rows, weight.depth, weight.numbers.data_ptr(), 0, 0, bias, 1]
        return [8 * weight.element_size(), *weight.shape, weight.data_ptr(), 0, 0, bias, 0]


class ByAddress:
    """A call that knows its tensors by where they lie. A copy of the network makes its own. held: memory that
    is there as long as the call is, whatever becomes of the tensors that lay in it."""

    held: Sequence[UntypedStorage] = ()

    def __deepcopy__(self, memo: object) -> None:
        return None


class BlockCalls(ByAddress):
    """The calls of one layer. products: qkv, output, gate and up, down; norms: before attention, before the
    feed-forward network, of queries and of keys (None where there are none)."""

    def __init__(
        self, library: Library, shape: BlockShape, products: Sequence[Product], norms: Sequence[Tensor | None]
    ) -> None:
        self.library, self._shape = library, shape
        self._kept = products, norms  # their addresses are in the words
        words = [word for product in products for word in product.words()]
        words += [0 if norm is None else norm.data_ptr() for norm in norms]
        words += [shape.heads, shape.kv_heads, shape.dim]
        self.words = torch.tensor([*words, double_word(shape.eps)], dtype=torch.int64)

    def inputs(
        self, x: Tensor, branch: Tensor | None, rope: tuple[Tensor, Tensor], dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x (T, h) float32 and the branch still to be added -> their sum, and q (T, H, D), k and v (T, Hkv,
        D) in `dtype`, turned."""
        tokens, shape = x.shape[0], self._shape
        total = x if branch is None else torch.empty_like(x)
        q = x.new_empty((tokens, shape.heads, shape.dim), dtype=dtype)
        k, v = (x.new_empty((tokens, shape.kv_heads, shape.dim), dtype=dtype) for _ in range(2))
        self.library.call("block_inputs", (q,), self.words, x, branch, *rope, total, q, k, v, tokens)
        return total, q, k, v

    def outputs(self, x: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
        """x (T, h) float32, attended (T, H, D) -> x with attention's branch added, the feed-forward
        branch."""
        total = torch.empty_like(x)
        branch = torch.empty_like(x, dtype=attended.dtype)
        attended = attended.contiguous()
        self.library.call("block_outputs", (branch,), self.words, x, attended, total, branch, x.shape[0])
        return total, branch


@dataclass(frozen=True)
class PagedStep:
    """A pass's place in the cache: stores (layers, parts) int64, where each layer's keys and values lie, or
    its latents, which need no runs; keeps_first: tokens of one sequence see each other, so all are put to
    their places before any is read; trust: the same object for passes between which no sequence came or went
    and no weight was given, so that what is known of the network needn't be looked up each time."""

    stores: Tensor
    tokens: PagedTokens
    runs: DecodeRuns | None
    keeps_first: bool
    trust: object

    def words(self, scale: float) -> Tensor:
        assert self.runs is not None
        placed = self.tokens.tables, self.tokens.rows, self.tokens.places, self.runs.order, self.runs.runs
        words = [tensor.data_ptr() for tensor in placed]
        words += [len(self.runs.runs), self.tokens.tables.shape[1], int(self.keeps_first), double_word(scale)]
        return torch.tensor(words, dtype=torch.int64)


class LayersCall(ByAddress):
    """All layers of a network in one call: with a call or two for each, what Python does between them is a
    quarter of a small model's step."""

    def __init__(self, layers: Sequence[BlockCalls]) -> None:
        self._library, self._layers = layers[0].library, layers  # their weights' addresses are in the words
        self._words = torch.stack([layer.words for layer in layers])

    def run(
        self, x: Tensor, rope: tuple[Tensor, Tensor], step: PagedStep, scale: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """x (T, h) float32, which is written to -> the sum after the last layer's attention, and its
        feed-forward branch in `dtype`."""
        branch = torch.empty_like(x, dtype=dtype)
        words = step.words(scale)
        self._library.call(
            "block_layers",
            (branch,),
            self._words,
            step.stores,
            words,
            *rope,
            x,
            branch,
            len(self._words),
            x.shape[0],
        )
        return x, branch


def double_word(value: float) -> int:
    """A double as the integer that is written alike."""
    return int.from_bytes(struct.pack("<d", value), "little", signed=True)


def fits_block(products: Sequence[Product], shape: BlockShape) -> bool:
    """Whether the calls can take a layer: all its products of one kind, and heads in whole panels."""
    kinds = {type(product.weight) for product in products}
    down = products[-1].weight
    inner = down.shape[1] if isinstance(down, Tensor) else down.depth
    columns = COLUMNS if isinstance(down, Panels) else LANES
    return len(kinds) == 1 and shape.dim % columns == 0 and inner % columns == 0
