"""All layers of a latent-attention network in one native call, for a step's few tokens
(native/latent_layers.cpp). What it stands for is `models.block.Block` of each; its tests hold them equal."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.ops.block import ByAddress, PagedStep, Product, double_word
from shoestring.ops.few import RouterRule
from shoestring.ops.latent_heads import HeadWidths
from shoestring.ops.native import Library

NO_MATRIX = [0] * 8


@dataclass(frozen=True)
class LatentShape:
    """rule: None without experts."""

    size: int
    rank: int
    heads: int
    widths: HeadWidths
    rule: RouterRule | None
    eps: float
    latent_eps: float
    scale: float

    def words(self) -> list[int]:
        w, rule = self.widths, self.rule
        routing = [0] * 6
        if rule is not None:
            routing = [rule.top_k, rule.groups, rule.kept_groups, rule.softmax, rule.biased, rule.normalised]
        numbers = [self.size, self.rank, self.heads, w.nope, w.rope, w.value, w.interleaved, *routing]
        reals = [0.0 if rule is None else rule.factor, self.eps, self.latent_eps, self.scale]
        return [*map(int, numbers), *map(double_word, reals)]


@dataclass(frozen=True)
class LatentExperts:
    """router: weight (E, h) and bias (E,) float32; routed and shared: gate and up, down, as
    `ops.few.few_experts` takes them."""

    router: tuple[Tensor, Tensor]
    routed: tuple[Tensor, Tensor]
    shared: tuple[Tensor, Tensor] | None

    def tensors(self) -> list[Tensor | None]:
        return [*self.router, *self.routed, *(self.shared or (None, None))]

    def sizes(self) -> list[int]:
        shared = 0 if self.shared is None else self.shared[1].shape[1]
        return [self.routed[0].shape[0], self.routed[1].shape[2], shared]


@dataclass(frozen=True)
class LatentLayer:
    """What `models.mla` and `models.moe` hold of one. products: a, q_b (or None), output; after: gate and up,
    down, or experts. norms: before attention, before the network, of the queries' latent (or None), of the
    latent. up: W_UK (H, rank, nope) and W_UV (H, value, rank)."""

    products: tuple[Product, Product | None, Product]
    after: tuple[Product, Product] | LatentExperts
    norms: tuple[Tensor, Tensor, Tensor | None, Tensor]
    up: tuple[Tensor, Tensor]

    def words(self) -> list[int]:
        dense = (None, None) if isinstance(self.after, LatentExperts) else self.after
        words = [w for p in (*self.products, *dense) for w in (NO_MATRIX if p is None else p.words())]
        words += [*map(_address, self.norms), *map(_address, self.up), self.up[1].stride(0)]
        if isinstance(self.after, LatentExperts):
            return [*words, *map(_address, self.after.tensors()), *self.after.sizes()]
        return [*words, *[0] * 9]


class LatentLayersCall(ByAddress):
    def __init__(self, library: Library, shape: LatentShape, layers: Sequence[LatentLayer]) -> None:
        self._library, self._layers = library, layers  # their tensors' addresses are in the words
        self.shape = shape
        self._words = torch.tensor([layer.words() for layer in layers])
        self._shape_words = torch.tensor(shape.words())
        self.mixtures = sum(isinstance(layer.after, LatentExperts) for layer in layers)

    def run(
        self, x: Tensor, rope: tuple[Tensor, Tensor], step: PagedStep, first: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (T, h) float32, which is written to -> the sum after the last layer's attention, its last branch
        in bf16, and the experts that were chosen (mixture layers, T, K). first: the first one's layer in the
        cache."""
        tokens, top_k = x.shape[0], 0 if self.shape.rule is None else self.shape.rule.top_k
        branch = torch.empty_like(x, dtype=torch.bfloat16)
        ids = torch.empty((self.mixtures, tokens, top_k), dtype=torch.int64)
        placed = step.tokens
        words = torch.tensor(
            [
                placed.tables.data_ptr(),
                placed.rows.data_ptr(),
                placed.places.data_ptr(),
                placed.tables.shape[1],
            ]
        )
        self._library.call(
            "latent_layers", (branch,), self._words, self._shape_words, step.stores[first:], words, *rope, x,
            branch, ids, len(self._words), tokens,
        )  # fmt: skip
        return x, branch, ids


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
