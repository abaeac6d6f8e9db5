"""What the learner is fed: a packed batch and what the loss needs for each target."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.models.cache import PackedRows
from shoestring.models.transformer import Transformer
from shoestring.text.message import PackedBatch


@dataclass(frozen=True)
class MicroBatch:
    """Tensors aligned with the packed batch's N targets. `weights` already divide by what the whole step's
    loss is a mean over (all micro-batches, all ranks), so that summing micro-batches is the step's loss
    whatever the split. Policy losses also carry each token's advantage and its logprob under the sampler,
    under the model before the step's first update (where there are several) and under the reference. A stored
    teacher's distribution is its K likeliest tokens and the mass of the others."""

    packed: PackedBatch
    weights: Tensor  # (N,) float32
    advantages: Tensor | None = None  # (N,) float32
    sampler_logprobs: Tensor | None = None  # (N,) float32
    old_logprobs: Tensor | None = None  # (N,) float32
    reference_logprobs: Tensor | None = None  # (N,) float32
    routing: Tensor | None = None  # (T, mixture layers, K) of the packed tokens, to be replayed
    teacher_ids: Tensor | None = None  # (N, K) int64
    teacher_logprobs: Tensor | None = None  # (N, K) float32
    teacher_tail: Tensor | None = None  # (N,) float32, log of the mass of all other tokens

    @property
    def num_tokens(self) -> int:
        return len(self.packed.ids)

    @property
    def num_targets(self) -> int:
        return len(self.packed.targets)

    def to(self, device: torch.device) -> "MicroBatch":
        fields = (field.name for field in dataclasses.fields(self))
        columns = {name: getattr(self, name) for name in fields}
        return dataclasses.replace(
            self, **{name: c.to(device) for name, c in columns.items() if isinstance(c, Tensor)}
        )


def attention_rows(packed: PackedBatch, device: torch.device) -> PackedRows:
    rows = (torch.from_numpy(a).to(device) for a in (packed.starts, packed.lengths, packed.parents))
    return PackedRows(*rows, num_tokens=len(packed.ids))


@dataclass(frozen=True)
class Placed:
    """A packed batch on the network's device."""

    ids: Tensor  # (T,)
    positions: Tensor  # (T,)
    predict_from: Tensor  # (N,)
    targets: Tensor  # (N,)
    rows: PackedRows

    @classmethod
    def of(cls, packed: PackedBatch, device: torch.device) -> "Placed":
        columns = (packed.ids, packed.positions, packed.predict_from, packed.targets)
        ids, positions, predict_from, targets = (torch.from_numpy(c).to(device) for c in columns)
        return cls(ids, positions, predict_from, targets, attention_rows(packed, device))


def hidden_at_targets(
    network: Transformer, packed: PackedBatch, routing: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One forward pass -> the hidden states (N, d) that predict the batch's targets, and the targets (N,)."""
    device = network.embed_tokens.device
    placed = Placed.of(packed, device)
    routing = None if routing is None else routing.to(device)
    hidden = network(placed.ids, placed.positions, cache=placed.rows, routing=routing).hidden
    return hidden.index_select(0, placed.predict_from), placed.targets


def sum_of_contexts(packed: PackedBatch) -> int:
    """Pairs (query, key) that attention looks at, for the FLOP count."""
    lengths, parents = packed.lengths, packed.parents
    shared = lengths[parents[parents >= 0]] * lengths[parents >= 0]
    return int((lengths * (lengths + 1) // 2).sum() + shared.sum())
