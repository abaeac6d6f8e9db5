"""A step's micro-batches shared out: every target once, the same for all, whatever was left of the step."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.cluster.turns import share_out, smallest_of
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch

ROWS = st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=4), min_size=1, max_size=5)


def batch_of(lengths: list[int], shared: int, first: int) -> MicroBatch:
    """Rows of these lengths, behind a shared beginning where there is one; their ids tell them apart."""
    rows = [
        Rendered([1000 * first + 100 * i + t for t in range(length)], [True] * length)
        for i, length in enumerate(lengths)
    ]
    packed = pack([Family(list(range(shared)), rows)])
    return MicroBatch(packed, torch.rand(len(packed.targets)))


@settings(max_examples=60, deadline=None)
@given(
    rows=ROWS,
    shared=st.integers(0, 3),
    size=st.integers(1, 5),
    most=st.one_of(st.none(), st.integers(2, 20)),
)
def test_every_target_is_one_ranks_whatever_groups_were_dropped(
    rows: list[list[int]], shared: int, size: int, most: int | None
) -> None:
    batches = [batch_of(lengths, shared, i) for i, lengths in enumerate(rows)]
    passes = share_out(batches, size, most)
    assert all(len(turns) == size for turns in passes)  # all take part in every pass
    targets = torch.cat([torch.from_numpy(batch.packed.targets) for batch in batches])
    weights = torch.cat([batch.weights for batch in batches])
    found, seen = torch.full_like(weights, -1), torch.zeros_like(weights)
    for turns in passes:
        for turn in turns:
            if turn.idle:
                assert not turn.batch.weights.any()
                continue
            own = slice(turn.first, turn.first + turn.batch.num_targets)
            assert torch.equal(torch.from_numpy(turn.batch.packed.targets), targets[own])
            found[own], seen[own] = turn.batch.weights, seen[own] + 1
    assert torch.equal(found, weights)
    assert torch.equal(seen, torch.ones_like(seen))
    again = share_out(batches, size, most)
    firsts = [[(t.first, t.idle) for t in turns] for turns in passes]
    assert firsts == [[(t.first, t.idle) for t in turns] for turns in again]


def test_like_sizes_go_together_and_the_largest_are_parted_before_anybody_idles() -> None:
    batches = [batch_of([9], 0, 0), batch_of([3], 0, 1), batch_of([8], 0, 2), batch_of([2], 0, 3)]
    sizes = [[turn.batch.num_tokens for turn in turns] for turns in share_out(batches, 2, None)]
    assert sizes == [[9, 8], [3, 2]]
    (turns,) = share_out([batch_of([4, 4, 4, 4], 0, 0)], 4, None)
    assert [(turn.batch.num_tokens, turn.idle) for turn in turns] == [(4, False)] * 4
    (turns,) = share_out([batch_of([4], 0, 0)], 3, None)
    assert [turn.idle for turn in turns] == [False, True, True]


def test_the_smallest_of_a_batch_has_all_its_columns() -> None:
    batch = batch_of([5, 6], 0, 0)
    whole = MicroBatch(batch.packed, batch.weights, batch.weights + 1, routing=torch.ones(11, 2, 3))
    small = smallest_of(whole)
    assert (small.num_tokens, small.num_targets) == (2, 1)
    assert small.advantages is not None
    assert small.routing is not None
    assert (len(small.weights), len(small.advantages), len(small.routing)) == (1, 1, 2)
    assert not small.weights.any()
