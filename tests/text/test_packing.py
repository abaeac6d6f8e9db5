import json
from dataclasses import astuple
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.text.message import Rendered
from shoestring.text.packing import Family, RowPacker, pack, pack_documents, share_prefix, split_by_tokens


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


def least_number(sizes: list[int], limit: int) -> int:
    """Of micro-batches, by trying all splits: each item into a batch begun before it or into a new one."""
    best = len(sizes)

    def place(at: int, filled: list[int]) -> None:
        nonlocal best
        if len(filled) >= best:
            return
        if at == len(sizes):
            best = len(filled)
            return
        for b, tokens in enumerate(filled):
            if tokens + sizes[at] <= limit:
                place(at + 1, [*filled[:b], tokens + sizes[at], *filled[b + 1 :]])
        place(at + 1, [*filled, sizes[at]])

    place(0, [])
    return best


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_micro_batches_are_few(sizes):
    found, least = len(split_by_tokens(sizes, 30)), least_number(sizes, 30)
    assert found <= 11 / 9 * least + 6 / 9


def test_gaps_behind_large_items_are_filled():
    """Laid next to each other by size they would be four batches."""
    assert split_by_tokens([30, 30, 30, 10, 10, 10], 40) == [[0, 3], [1, 4], [2, 5]]


def test_micro_batches_are_even():
    assert [len(b) for b in split_by_tokens([10] * 12, 50)] == [4, 4, 4]  # not 5, 5, 2


def test_no_rows_is_our_own_mistake():
    with pytest.raises(ValueError, match="empty"):
        share_prefix([])


# ------------------------------------------------ documents

BOS, EOS = 0, 1


def lay(documents: list[list[int]], length: int = 8) -> RowPacker:
    packer = RowPacker(length, BOS, EOS)
    for ids in documents:
        packer.add(ids)
    return packer


def test_documents_by_hand():
    packer = lay([[5, 6], [7, 8, 9, 10, 11], [12]])
    assert (packer.rows, packer.documents, packer.split, packer.longer) == (1, 3, 1, 0)
    (row,) = packer.take(1)
    assert row == [[0, 5, 6, 1], [0, 7, 8, 9]]
    packer.add([13] * 10)
    assert (packer.documents, packer.split, packer.longer) == (4, 2, 1)
    assert packer.take(2) == [[[10, 11, 1], [0, 12, 1], [0, 13]], [[13] * 8]]
    assert packer.rows == 0

    whole = pack_documents([row], document_mask=False)
    assert whole.ids.tolist() == [0, 5, 6, 1, 0, 7, 8, 9]
    assert whole.positions.tolist() == list(range(8))
    assert (whole.starts.tolist(), whole.lengths.tolist(), whole.parents.tolist()) == ([0], [8], [-1])
    assert whole.predict_from.tolist() == list(range(7))
    assert whole.targets.tolist() == [5, 6, 1, 0, 7, 8, 9]
    assert whole.owners.tolist() == [0] * 7

    apart = pack_documents([row], document_mask=True)
    assert apart.ids.tolist() == whole.ids.tolist()
    assert apart.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert (apart.starts.tolist(), apart.lengths.tolist()) == ([0, 4], [4, 4])
    assert apart.targets.tolist() == [5, 6, 1, 7, 8, 9]  # the second's first id has nothing before it
    assert apart.predict_from.tolist() == [0, 1, 2, 4, 5, 6]
    assert apart.owners.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_document_that_brings_its_marks_gets_no_second_ones():
    packer = lay([[BOS, 5, EOS], [6], []], length=4)
    assert packer.take(2) == [[[0, 5, 1], [0]], [[6, 1], [0, 1]]]
    without = RowPacker(4, None, EOS)
    without.add([5, 6, 7])
    assert without.take(1) == [[[5, 6, 7, 1]]]


DOCUMENTS = st.lists(st.lists(st.integers(2, 99), max_size=30), max_size=12)


@given(DOCUMENTS, st.integers(2, 16))
def test_no_token_is_lost_or_moved(documents, length):
    packer = lay(documents, length)
    rows = packer.take(packer.rows)
    assert all(sum(map(len, row)) == length for row in rows)
    rest = [token for piece in packer.state_dict()["open"] for token in piece]
    assert len(rest) < length
    laid = [token for row in rows for piece in row for token in piece] + rest
    assert laid == [token for ids in documents for token in (BOS, *ids, EOS)]
    starts = sum(piece[0] == BOS for row in [*rows, packer.state_dict()["open"]] for piece in row)
    assert starts == len(documents) == packer.documents
    assert packer.longer == sum(len(ids) + 2 > length for ids in documents) <= packer.split


@given(DOCUMENTS, st.integers(2, 16), st.integers(0, 12))
def test_a_resumed_packer_makes_the_same_rows(documents, length, at):
    whole = lay(documents, length)
    first = lay(documents[:at], length)
    again = RowPacker(length, BOS, EOS)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for ids in documents[at:]:
        again.add(ids)
    assert again.state_dict() == whole.state_dict()
    assert again.take(again.rows) == whole.take(whole.rows)


@given(DOCUMENTS, st.booleans())
def test_documents_are_packed_as_rows_are(documents, mask):
    packer = lay([*documents, [2] * 8])
    rows = packer.take(packer.rows)
    laid = [piece for r in rows for piece in r] if mask else [list(chain(*r)) for r in rows]
    plain = pack([Family([], [row(ids, 0)]) for ids in laid])
    for ours, theirs in zip(astuple(pack_documents(rows, mask)), astuple(plain), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tolist() == theirs.tolist()
