"""A step's micro-batches shared out over the ranks. All of them see all of it, so they agree without a word.

Every pass is made by all ranks together (they put each layer's weights together for it), so each has the same
number of passes, and a pass takes as long as its largest micro-batch: those of like size go together. Where
there are too few, the largest are parted; where nothing is left to part, a rank takes part with a copy whose
weights are zero."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from shoestring.text.message import PackedBatch
from shoestring.train.batch import MicroBatch
from shoestring.train.split import halves, num_samples, parts_within


@dataclass(frozen=True)
class Turn:
    """One rank's work in one pass. first : first + its targets are its place among all targets of the step;
    idle: only for the others' sake, and counted nowhere."""

    batch: MicroBatch
    first: int
    idle: bool = False


def share_out(batches: Sequence[MicroBatch], size: int, most_tokens: int | None) -> list[list[Turn]]:
    """[pass][rank]. The same batches give the same turns for the same number of ranks."""
    turns: list[Turn] = []
    first = 0
    for batch in batches:
        for part in parts_within(batch, most_tokens):
            turns.append(Turn(part, first))
            first += part.num_targets
    turns = _parted(turns, -len(turns) % size)
    turns.sort(key=lambda turn: (-turn.batch.num_tokens, turn.first))
    if len(turns) % size:
        smallest = turns[-1].batch
        nothing = dataclasses.replace(smallest, weights=torch.zeros_like(smallest.weights))
        turns += [Turn(nothing, 0, idle=True)] * (-len(turns) % size)
    return [turns[at : at + size] for at in range(0, len(turns), size)]


def _parted(turns: list[Turn], more: int) -> list[Turn]:
    """`more` turns more, as far as there are any with two samples: the largest is halved each time."""
    turns = list(turns)
    for _ in range(more):
        able = [i for i, turn in enumerate(turns) if num_samples(turn.batch.packed) > 1]
        if not able:
            break
        largest = max(able, key=lambda i: (turns[i].batch.num_tokens, -turns[i].first))
        turn = turns.pop(largest)
        one, other = halves(turn.batch)
        turns += [Turn(one, turn.first), Turn(other, turn.first + one.num_targets)]
    return turns


def smallest_of(batch: MicroBatch) -> MicroBatch:
    """Two tokens and one target with no weight, with every column that the batch has."""
    zero, two = np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64)
    packed = PackedBatch(two, np.arange(2), zero, zero + 2, zero - 1, zero, zero, zero)
    columns: dict[str, torch.Tensor] = {}
    for field in dataclasses.fields(batch):
        column = getattr(batch, field.name)
        if isinstance(column, torch.Tensor):
            rows = 2 if field.name == "routing" else 1
            columns[field.name] = column[:1].expand(rows, *column.shape[1:])
    columns["weights"] = torch.zeros(1)
    return dataclasses.replace(batch, packed=packed, **columns)  # type: ignore[arg-type]
