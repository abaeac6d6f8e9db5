"""Rows laid end to end without padding and without sight of each other; rows of one prompt share it."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Indices in micro-batches of at most `limit` tokens each (one item may be larger), similar sizes
    together so that attention pads little; the micro-batches are evened out."""
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    total = sum(sizes)
    count = max(1, -(-total // limit))
    target = total / count
    batches: list[list[int]] = []
    filled = 0
    for i in order:
        if not batches or (filled + sizes[i] > limit or filled >= target):
            batches.append([])
            filled = 0
        batches[-1].append(i)
        filled += sizes[i]
    return batches
