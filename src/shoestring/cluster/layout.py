"""Bytes of each rank for a model and a layout, reckoned on the network itself without its numbers, so for any
size. The layout may have a pipeline, which is planned and not run here.

`kind` says how what is there once for all replicas is laid out: "shared" as `parallelize` does it (every
weight, gradient and moment lies once in the world), "published" as arXiv 2412.19437 section 3 says: weights
and float32 gradients of its stages on every rank, experts' over the ranks that share them, only the
optimizer's state shared out over replicas (ZeRO-1), its moments in bf16 and its masters in float32;
with DualPipe a rank holds two stages, one of each end."""

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch

from shoestring.budget.memory import WIDE, layer_activations
from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer

Kind = Literal["shared", "published"]
T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """data: ranks that each take other tokens. expert divides it: that share a layer's experts. pipeline:
    stages; with `both_ends` a rank has two of them. width: bytes of a weight as products read it."""

    data: int
    expert: int = 1
    pipeline: int = 1
    both_ends: bool = False
    width: int = 2

    @property
    def ranks(self) -> int:
        return self.data * self.pipeline


@dataclass(frozen=True)
class Held:
    """Bytes of one rank. gathered: weights and gradients that are whole for a while."""

    weights: int
    gradients: int
    optimizer: int
    gathered: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.gathered + self.activations


@dataclass(frozen=True)
class Numbers:
    """Of a piece of the network: that every rank of a stage needs, and of experts, all of them."""

    dense: int
    experts: int


def pieces_of(config: ModelConfig) -> list[Numbers]:
    """The embedding, each layer, each MTP module, the head with the last norm; counted on meta devices."""
    with torch.device("meta"):
        network = Transformer(config)
    counts: dict[str, list[int]] = {"embed_tokens": [0, 0]}
    for name, parameter in network.named_parameters():
        part, *rest = name.split(".")
        piece = f"{part}.{rest[0]}" if part in ("layers", "mtp") else part
        piece = piece if part in ("embed_tokens", "layers", "mtp") else "end"
        counts.setdefault(piece, [0, 0])[".mlp.experts." in name] += parameter.numel()
    return [Numbers(*counts[piece]) for piece in sorted(counts, key=_order)]


def _order(piece: str) -> tuple[int, int]:
    part, _, number = piece.partition(".")
    return ("embed_tokens", "layers", "mtp", "end").index(part), int(number or 0)


def stages_of(pieces: list[Numbers], stages: int) -> list[list[Numbers]]:
    """Layers and MTP modules in order, as even as goes, the first stages one more; the embedding with the
    first, the head with the last."""
    first, *middle, last = pieces
    if stages > len(middle):
        raise BadInput(f"pipeline {stages}: the model has {len(middle)} layers; write at most that")
    parts = _parted(middle, stages)
    parts[0].insert(0, first)
    parts[-1].append(last)
    return parts


def _parted(items: list[T], parts: int) -> list[list[T]]:
    """In order, as even as goes, the first ones one more."""
    base, more = divmod(len(items), parts)
    ends = [base * (part + 1) + min(part + 1, more) for part in range(parts)]
    return [items[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def held_by_ranks(config: ModelConfig, layout: Layout, kind: Kind, tokens: int = 0) -> list[Held]:
    """Of a rank of each stage; with `both_ends` of each pair. tokens: of the micro-batches whose activations
    a rank keeps at once in a stage, all layers kept whole. Raises BadInput for what can't be laid out."""
    _check(config, layout, kind)
    stages = stages_of(pieces_of(config), layout.pipeline)
    each = [_held(stage, layout, kind) for stage in stages]
    if tokens:
        kept = _activations(config, layout, tokens)
        each = [replace(held, activations=extra) for held, extra in zip(each, kept, strict=True)]
    if not layout.both_ends:
        return each
    pairs = zip(each[: layout.pipeline // 2], reversed(each), strict=False)
    return [_sum(one, other) for one, other in pairs]


def _check(config: ModelConfig, layout: Layout, kind: Kind) -> None:
    if kind == "shared" and layout.pipeline > 1:
        raise BadInput("a pipeline is laid out as published alone: nothing here runs one")
    if layout.data % layout.expert:
        raise BadInput(f"expert {layout.expert} doesn't divide data {layout.data}")
    if layout.expert > 1 and config.n_routed_experts % layout.expert:
        raise BadInput(f"expert {layout.expert} doesn't divide the {config.n_routed_experts} experts")
    if layout.both_ends and layout.pipeline % 2:
        raise BadInput(f"two stages on a rank need an even number of them, not {layout.pipeline}")


def _held(stage: list[Numbers], layout: Layout, kind: Kind) -> Held:
    dense, experts = sum(p.dense for p in stage), sum(p.experts for p in stage)
    replicas = layout.data // layout.expert
    own_experts = experts // layout.expert
    shared = -(-dense // layout.data) + -(-own_experts // replicas)
    if kind == "published":
        here = dense + own_experts
        masters_and_moments = (WIDE + 2 + 2) * shared
        return Held(layout.width * here, WIDE * here, masters_and_moments)
    # masters are what is shared out; products read copies made for the pass: embedding and head for all of it
    # with their gradients, of the modules between them one and the next, and one's gradients and their sums
    first, *middle, last = stage
    ends = first.dense + last.dense
    largest = max(p.dense + p.experts // layout.expert for p in middle)
    gathered = 2 * layout.width * ends + (3 * layout.width + WIDE) * largest
    return Held(WIDE * shared, WIDE * shared, 2 * WIDE * shared, gathered)


def _activations(config: ModelConfig, layout: Layout, tokens: int) -> list[int]:
    layers = range(config.num_hidden_layers + config.num_nextn_predict_layers)
    each = [int(layer_activations(config, layer, layout.width)) for layer in layers]
    return [tokens * sum(stage) for stage in _parted(each, layout.pipeline)]


def _sum(one: Held, other: Held) -> Held:
    return Held(
        one.weights + other.weights,
        one.gradients + other.gradients,
        one.optimizer + other.optimizer,
        max(one.gathered, other.gathered),
        one.activations + other.activations,
    )
