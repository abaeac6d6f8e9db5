"""A micro-batch in smaller ones, where it turned out to be too large for the memory."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from shoestring.text.message import PackedBatch
from shoestring.train.batch import MicroBatch


def parts_within(batch: MicroBatch, most_tokens: int | None) -> list[MicroBatch]:
    """Halved, and halved again, until each has at most so many tokens or a single row; rows and targets keep
    their order. None: no limit."""
    if most_tokens is None or batch.num_tokens <= most_tokens or num_samples(batch.packed) < 2:
        return [batch]
    return [part for half in halves(batch) for part in parts_within(half, most_tokens)]


def num_samples(packed: PackedBatch) -> int:
    """Rows that own targets: all but the shared beginnings."""
    return len(_samples(packed))


def halves(batch: MicroBatch) -> tuple[MicroBatch, MicroBatch]:
    """Two micro-batches of about as many tokens, of a batch with two samples or more. A beginning whose
    samples are parted goes with both. Weights are of the whole step, so nothing else changes."""
    packed = batch.packed
    samples = _samples(packed)
    sizes = packed.lengths[samples].cumsum()
    cut = 1 + int(np.abs(sizes[:-1] - sizes[-1] / 2).argmin())
    return _taken(batch, samples, 0, cut), _taken(batch, samples, cut, len(samples))


def _samples(packed: PackedBatch) -> np.ndarray:
    """Rows that are nobody's beginning, in order: owner i is the i-th of them."""
    rows = np.arange(len(packed.parents))
    return rows[~np.isin(rows, packed.parents)]


def _taken(batch: MicroBatch, samples: np.ndarray, first: int, last: int) -> MicroBatch:
    packed = batch.packed
    own = samples[first:last]
    beginnings = packed.parents[own]
    rows = np.unique(np.concatenate((own, beginnings[beginnings >= 0])))
    lengths = packed.lengths[rows]
    spans = zip(packed.starts[rows], lengths, strict=True)
    tokens = np.concatenate([np.arange(start, start + length) for start, length in spans])
    place = np.full(len(packed.ids), -1)  # of each kept token
    place[tokens] = np.arange(len(tokens))
    parents = packed.parents[rows]
    parents = np.where(parents >= 0, np.searchsorted(rows, parents), -1)
    kept = np.flatnonzero((packed.owners >= first) & (packed.owners < last))
    part = PackedBatch(
        packed.ids[tokens],
        packed.positions[tokens],
        np.cumsum(lengths) - lengths,
        lengths,
        parents,
        place[packed.predict_from[kept]],
        packed.targets[kept],
        packed.owners[kept] - first,
    )
    return _with_columns(batch, part, torch.from_numpy(kept), torch.from_numpy(tokens))


def _with_columns(batch: MicroBatch, packed: PackedBatch, kept: Tensor, tokens: Tensor) -> MicroBatch:
    """Every (N,) column at the kept targets; routing (T, ...) at the kept tokens."""
    columns: dict[str, Tensor | None] = {}
    for field in dataclasses.fields(batch):
        column = getattr(batch, field.name)
        if isinstance(column, Tensor):
            columns[field.name] = column[tokens if field.name == "routing" else kept]
    return dataclasses.replace(batch, packed=packed, **columns)
