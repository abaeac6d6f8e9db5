"""Rows laid end to end without padding and without sight of each other; rows of one prompt share it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoestring.text.message import PackedBatch, Rendered


@dataclass(frozen=True)
class Family:
    """A shared beginning and the rows that go on from it; `prefix` may be empty for rows of their own.
    trained[i] of a row says whether the loss counts the prediction of ids[i]."""

    prefix: list[int]
    rows: list[Rendered]


def pack(families: Sequence[Family]) -> PackedBatch:
    """One flat batch. Owners count the rows in order. The first id of a row that has a prefix is predicted
    from the prefix's last token, so nothing is lost by sharing; a row's very first id has nothing before
    it."""
    ids: list[int] = []
    positions: list[int] = []
    starts: list[int] = []
    lengths: list[int] = []
    parents: list[int] = []
    predict_from: list[int] = []
    targets: list[int] = []
    owners: list[int] = []

    def lay(tokens: list[int], offset: int, parent: int) -> int:
        start = len(ids)
        ids.extend(tokens)
        positions.extend(range(offset, offset + len(tokens)))
        starts.append(start)
        lengths.append(len(tokens))
        parents.append(parent)
        return start

    owner = 0
    for family in families:
        parent = -1
        if family.prefix:
            lay(family.prefix, 0, -1)
            parent = len(starts) - 1
        last_of_prefix = len(ids) - 1
        for row in family.rows:
            start = lay(row.ids, len(family.prefix), parent)
            for i, (token, trained) in enumerate(zip(row.ids, row.trained, strict=True)):
                if trained and (i or family.prefix):
                    predict_from.append(start + i - 1 if i else last_of_prefix)
                    targets.append(token)
                    owners.append(owner)
            owner += 1
    columns = (ids, positions, starts, lengths, parents, predict_from, targets, owners)
    return PackedBatch(*(np.asarray(column, dtype=np.int64) for column in columns))


def share_prefix(rows: Sequence[Rendered], least: int = 8) -> Family:
    """The rows as one family whose prefix is their longest common beginning without loss (a system prompt,
    say), or without a prefix where that is shorter than `least` tokens. Same loss and gradients, fewer
    tokens."""
    shortest = min(len(row.ids) for row in rows)
    shared = 0
    first = rows[0].ids
    while (
        shared < shortest - 1  # every row keeps a token of its own
        and len(rows) > 1
        and all(row.ids[shared] == first[shared] and not row.trained[shared] for row in rows)
    ):
        shared += 1
    if shared < least:
        return Family([], list(rows))
    own = [Rendered(row.ids[shared:], row.trained[shared:], row.row_id) for row in rows]
    return Family(first[:shared], own)


def split_by_tokens(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Indices in micro-batches of at most `limit` tokens each (one item may be larger), as even as that
    allows. Their number is at most 11/9 of the least possible and one more (first fit, largest first:
    Johnson 1973, Dosa 2007); the same sizes give the same split."""
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    batches = _first_fit(sizes, order, limit)
    return _evened(sizes, order, limit, len(batches)) or batches


def _first_fit(sizes: Sequence[int], order: Sequence[int], limit: int) -> list[list[int]]:
    batches: list[list[int]] = []
    filled: list[int] = []
    for i in order:
        place = next((b for b, tokens in enumerate(filled) if tokens + sizes[i] <= limit), len(batches))
        if place == len(batches):
            batches.append([])
            filled.append(0)
        batches[place].append(i)
        filled[place] += sizes[i]
    return batches


def _evened(sizes: Sequence[int], order: Sequence[int], limit: int, count: int) -> list[list[int]] | None:
    """Each to the emptiest of `count` batches; None where one would pass the limit so."""
    batches: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for i in order:
        place = filled.index(min(filled))
        if batches[place] and filled[place] + sizes[i] > limit:
            return None
        batches[place].append(i)
        filled[place] += sizes[i]
    return batches


Row = list[list[int]]  # the pieces of documents that one row is made of, in order


class RowPacker:
    """Documents laid end to end and cut into rows of exactly `sequence_length` tokens. What doesn't fill a
    row waits for the next document, so nothing is lost; a saved state goes on with the same rows.

    `documents` counts what was added, `split` those of them laid over two rows or more, `longer` those that
    no single row could have held."""

    def __init__(self, sequence_length: int, bos_id: int | None, eos_id: int) -> None:
        """bos_id and eos_id go around every document that doesn't bring them."""
        assert sequence_length >= 2, sequence_length  # one token predicts nothing
        self.sequence_length, self._bos_id, self._eos_id = sequence_length, bos_id, eos_id
        self.documents = self.split = self.longer = 0
        self._full: list[Row] = []
        self._open: Row = []
        self._filled = 0  # tokens in the open row

    @property
    def rows(self) -> int:
        """Full rows that can be taken."""
        return len(self._full)

    def framed(self, ids: Sequence[int]) -> list[int]:
        """A document's ids as they are laid."""
        before = [self._bos_id] if self._bos_id is not None and list(ids[:1]) != [self._bos_id] else []
        after = [self._eos_id] if not ids or ids[-1] != self._eos_id else []
        return [*before, *ids, *after]

    def add(self, ids: Sequence[int]) -> None:
        whole = self.framed(ids)
        self.documents += 1
        self.split += len(whole) > self.sequence_length - self._filled
        self.longer += len(whole) > self.sequence_length
        at = 0
        while at < len(whole):
            piece = whole[at : at + self.sequence_length - self._filled]
            at += len(piece)
            self._open.append(piece)
            self._filled += len(piece)
            if self._filled == self.sequence_length:
                self._full.append(self._open)
                self._open, self._filled = [], 0

    def take(self, count: int) -> list[Row]:
        """The oldest `count` full rows, which must be there."""
        assert count <= self.rows, f"{count} rows asked for and {self.rows} full"
        taken, self._full = self._full[:count], self._full[count:]
        return taken

    def state_dict(self) -> dict[str, Any]:
        counts = {"documents": self.documents, "split": self.split, "longer": self.longer}
        return {"full": [list(row) for row in self._full], "open": list(self._open), **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._full, self._open = [list(row) for row in state["full"]], list(state["open"])
        self._filled = sum(map(len, self._open))
        self.documents, self.split, self.longer = state["documents"], state["split"], state["longer"]


def pack_documents(rows: Sequence[Row], document_mask: bool) -> PackedBatch:
    """One flat batch in which every token but the first of its row is a target. Without `document_mask` a
    token sees all before it in its row, other documents too, as in DeepSeek-V3's pretraining; with it each
    piece of a document is a row of its own, with positions from 0. Owners count the batch's rows."""
    if document_mask:
        laid = [piece for row in rows for piece in row]
    else:
        laid = [[token for piece in row for token in piece] for row in rows]
    lengths = np.asarray([len(row) for row in laid], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    ids = np.asarray([token for row in laid for token in row], dtype=np.int64)
    owners = np.repeat(np.arange(len(laid), dtype=np.int64), lengths)
    positions = np.arange(len(ids), dtype=np.int64) - starts[owners]
    targets = np.flatnonzero(positions > 0)
    parents = np.full(len(laid), -1, dtype=np.int64)
    return PackedBatch(ids, positions, starts, lengths, parents, targets - 1, ids[targets], owners[targets])
