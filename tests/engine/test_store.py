"""The cache's memory as it grows."""

import pytest
import torch

from shoestring.engine import store as module
from shoestring.engine.store import BlockStore
from shoestring.ops.hostmemory import mapped_zeros


def made() -> BlockStore:
    return BlockStore(2, 1, (4, 2), torch.float32, torch.device("cpu"))


def test_all_of_the_limit_is_there_at_once_and_what_lies_in_it_stays() -> None:
    store = made()
    store.grow(3, 50)
    assert (store.blocks, store.moves) == (50, 1)
    store.parts[1][1][2] = 7.0
    store.grow(50, 50)
    assert store.moves == 1
    store.grow(60, 60)  # the limit was raised
    assert (store.blocks, store.moves) == (60, 2)
    assert store.parts[1][1][2].eq(7.0).all()
    assert not store.parts[0][0].any()


def test_where_the_address_space_is_short_it_grows_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if shape[0] > 20:
            raise MemoryError
        return mapped_zeros(shape, dtype)

    monkeypatch.setattr(module, "mapped_zeros", short)
    store = made()
    store.grow(4, 50)
    assert store.blocks == 4
    store.parts[0][1][3] = 5.0
    store.grow(5, 50)
    assert store.blocks == 6
    assert store.parts[0][1][3].eq(5.0).all()
    with pytest.raises(MemoryError):
        store.grow(21, 50)


def test_where_the_blocks_lie_is_told_anew_when_they_moved() -> None:
    def lie(store: BlockStore) -> list[list[int]]:
        return [[keys.data_ptr(), values.data_ptr()] for keys, values in map(store.layer, range(2))]

    store = made()
    for blocks in (4, 30):
        store.grow(blocks, blocks)
        assert store.addresses().tolist() == lie(store)
    store.clear()
    assert store.addresses().tolist() == lie(store)
