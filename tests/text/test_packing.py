import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack, share_prefix, split_by_tokens


def row(ids: list[int], trained_from: int, name: str = "r") -> Rendered:
    return Rendered(ids, [i >= trained_from for i in range(len(ids))], name)


def test_a_batch_by_hand():
    """A row of its own, then two rows on one prefix."""
    packed = pack([Family([], [row([1, 2, 3], 2)]), Family([7, 8], [row([4, 5], 0), row([6], 0)])])
    assert packed.ids.tolist() == [1, 2, 3, 7, 8, 4, 5, 6]
    assert packed.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 2]
    assert packed.starts.tolist() == [0, 3, 5, 7]
    assert packed.lengths.tolist() == [3, 2, 2, 1]
    assert packed.parents.tolist() == [-1, -1, 1, 1]
    assert packed.targets.tolist() == [3, 4, 5, 6]
    assert packed.predict_from.tolist() == [1, 4, 5, 4]  # 4 and 6 are predicted from the prefix's last token
    assert packed.owners.tolist() == [0, 1, 1, 2]


def test_a_first_token_has_nothing_before_it():
    assert pack([Family([], [row([1, 2], 0)])]).targets.tolist() == [2]


def test_sharing():
    rows = [row([1, 2, 3, 4, 9], 3), row([1, 2, 3, 4], 3), row([1, 2, 3, 5, 5], 3)]
    family = share_prefix(rows, least=3)
    assert family.prefix == [1, 2, 3]
    assert [r.ids for r in family.rows] == [[4, 9], [4], [5, 5]]
    assert all(all(r.trained) for r in family.rows)
    assert share_prefix(rows, least=4) == Family([], rows)
    assert share_prefix([row([1, 2, 3, 4], 1), row([1, 2, 3, 5], 1)], least=1).prefix == [
        1
    ]  # never what is trained
    assert share_prefix(rows[:1], least=1).prefix == []
    assert share_prefix([row([1, 2], 9), row([1, 2, 3], 2)], least=1).prefix == [
        1
    ]  # each keeps one of its own


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 120))
def test_micro_batches_hold_everything_once_and_keep_the_limit(sizes, limit):
    batches = split_by_tokens(sizes, limit)
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    assert all(len(b) == 1 or sum(sizes[i] for i in b) <= limit for b in batches)
    assert batches == split_by_tokens(sizes, limit)


def test_micro_batches_are_even():
    assert [len(b) for b in split_by_tokens([10] * 12, 50)] == [4, 4, 4]  # not 5, 5, 2


def test_no_rows_is_our_own_mistake():
    with pytest.raises(ValueError, match="empty"):
        share_prefix([])
