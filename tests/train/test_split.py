"""Micro-batches cut in two: the same targets, columns and gradient."""

import dataclasses

import numpy as np
import torch

from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack, pack_documents
from shoestring.train.batch import MicroBatch
from shoestring.train.split import halves, num_samples, parts_within


def shared() -> MicroBatch:
    """Two groups behind prompts of 4 and 3 tokens and a row of its own; target i has columns of i."""
    groups = [
        Family([1, 2, 3, 4], [Rendered([10 + i, 20 + i], [True, True]) for i in range(3)]),
        Family([5, 6, 7], [Rendered([30, 31, 32], [False, True, True]), Rendered([40], [True])]),
        Family([], [Rendered([50, 51, 52], [True, True, True])]),
    ]
    packed = pack(groups)
    numbers = torch.arange(len(packed.targets), dtype=torch.float32)
    routing = torch.arange(len(packed.ids))[:, None, None]
    columns = {"advantages": numbers + 100, "sampler_logprobs": numbers + 200, "old_logprobs": numbers + 250}
    return MicroBatch(packed, numbers, **columns, reference_logprobs=numbers + 300, routing=routing)


def told(batch: MicroBatch) -> list[tuple[list[int], int, float]]:
    """Each target as what it can see, its id and its weight: what the loss is made of."""
    p = batch.packed
    found = []
    for number, (origin, target) in enumerate(zip(p.predict_from.tolist(), p.targets.tolist(), strict=True)):
        row = int(np.flatnonzero((p.starts <= origin) & (origin < p.starts + p.lengths))[0])
        seen = p.ids[p.starts[row] : origin + 1].tolist()
        if p.parents[row] >= 0:
            root = p.parents[row]
            seen = p.ids[p.starts[root] : p.starts[root] + p.lengths[root]].tolist() + seen
        assert p.positions[origin] == len(seen) - 1
        found.append((seen, target, batch.weights[number].item()))
    return found


def test_halves_hold_all_targets_in_order_with_what_they_see():
    whole = shared()
    first, second = halves(whole)
    assert told(first) + told(second) == told(whole)
    assert num_samples(first.packed) + num_samples(second.packed) == num_samples(whole.packed) == 6
    for name in ("advantages", "sampler_logprobs", "old_logprobs", "reference_logprobs"):
        parts = [getattr(first, name), getattr(second, name)]
        assert torch.equal(torch.cat(parts), getattr(whole, name))
    for part in (first, second):
        assert part.routing is not None
        assert torch.equal(
            torch.from_numpy(part.packed.ids), torch.from_numpy(whole.packed.ids)[part.routing[:, 0, 0]]
        )


def test_a_parted_group_has_its_prompt_twice():
    packed = pack([Family([1, 2, 3], [Rendered([10 + i] * 4, [True] * 4) for i in range(4)])])
    first, second = halves(MicroBatch(packed, torch.ones(16)))
    for part, rows in ((first, (10, 11)), (second, (12, 13))):
        assert part.packed.ids.tolist() == [1, 2, 3, *[rows[0]] * 4, *[rows[1]] * 4]
        assert part.packed.parents.tolist() == [-1, 0, 0]
        assert part.packed.owners.tolist() == [0] * 4 + [1] * 4


def test_parts_within_a_limit_keep_the_order_and_end_at_single_rows():
    whole = shared()
    assert parts_within(whole, None) == [whole]
    parts = parts_within(whole, 8)
    assert all(part.num_tokens <= 8 or num_samples(part.packed) == 1 for part in parts)
    assert [line for part in parts for line in told(part)] == told(whole)
    single = parts_within(whole, 1)
    assert [num_samples(part.packed) for part in single] == [1] * 6


def test_documents_are_cut_between_rows():
    packed = pack_documents([[[1, 2], [3, 4, 5]], [[6, 7, 8, 9]]], document_mask=True)
    batch = MicroBatch(packed, torch.arange(float(len(packed.targets))))
    parts = parts_within(batch, 4)
    assert [part.packed.ids.tolist() for part in parts] == [[1, 2], [3, 4, 5], [6, 7, 8, 9]]
    assert [line for part in parts for line in told(part)] == told(batch)


def test_every_tensor_of_a_micro_batch_is_cut():
    """A new column must not stay whole."""
    whole = shared()
    first, _ = halves(whole)
    for field in dataclasses.fields(MicroBatch):
        column = getattr(first, field.name)
        if isinstance(column, torch.Tensor):
            assert len(column) == (first.num_tokens if field.name == "routing" else first.num_targets)
