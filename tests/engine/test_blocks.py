"""Who holds which block, and what a later prompt finds."""

import pytest

from shoestring.engine.blocks import BlockPool, Table
from shoestring.ops.paged import SPAN


def pool_of(limit: int, keeps: bool = True) -> BlockPool:
    pool = BlockPool(keeps)
    pool.limit = limit
    return pool


def read(pool: BlockPool, tokens: list[int]) -> tuple[Table, int]:
    """As the scheduler does it -> the table and how many tokens were found."""
    table = pool.find(tokens)
    found = len(table.blocks) * SPAN
    assert not pool.extend(table, len(tokens), len(tokens))
    pool.name(table, tokens)
    return table, found


def text(blocks: int, more: int = 0, begin: int = 0) -> list[int]:
    return list(range(begin, begin + blocks * SPAN + more))


def test_a_beginning_is_found_as_far_as_it_goes():
    pool = pool_of(100)
    first, found = read(pool, text(3, 5))
    assert (found, len(first.blocks), pool.held) == (0, 4, 4)
    second, found = read(pool, text(2) + [-1] * 40)
    assert found == 2 * SPAN
    assert second.blocks[:2] == first.blocks[:2]
    assert pool.held == 4 + 2
    other, found = read(pool, [-1, *text(3)])  # the same tokens elsewhere are other blocks
    assert found == 0
    for table in (first, second, other):
        pool.release(table)
    assert (pool.held, pool.cached) == (0, 3 + 1 + 3)
    assert read(pool, text(3, 1))[1] == 3 * SPAN


def test_one_token_is_left_to_be_read():
    pool = pool_of(100)
    pool.release(read(pool, text(2))[0])
    assert read(pool, text(2))[1] == SPAN
    assert read(pool, text(2, 1))[1] == 2 * SPAN


def test_without_keeping_a_beginning_is_found_while_it_is_held():
    pool = pool_of(100, keeps=False)
    first, _ = read(pool, text(2, 3))
    second, found = read(pool, text(2, 3))
    assert found == 2 * SPAN
    pool.release(first)
    assert read(pool, text(2, 9))[1] == 2 * SPAN
    pool.release(second)
    assert pool.cached == 0
    assert pool.held == 3  # the third's


def test_new_weights_find_nothing_of_the_old_ones():
    pool = pool_of(100)
    running, _ = read(pool, text(2, 3))
    pool.release(read(pool, text(1, 3, begin=500))[0])
    pool.forget("1")
    assert pool.cached == 0
    assert read(pool, text(1, 3, begin=500))[1] == 0
    pool.name(running, text(2, 3))  # it runs on, but was begun by the old weights
    assert read(pool, text(2, 3))[1] == 0
    pool.release(running)


def test_room_is_made_by_what_waited_longest_its_end_first():
    pool = pool_of(6)
    pool.release(read(pool, text(3))[0])
    pool.release(read(pool, text(2, begin=500))[0])
    assert (pool.held, pool.cached, pool.available) == (0, 5, 6)
    table, _ = read(pool, text(3, begin=900))
    assert pool.cached == 3
    assert pool.numbered == 6
    assert len(pool.find(text(3, 1)).blocks) == 1  # its last two blocks had to go
    pool.release(table)


def test_what_is_shared_is_copied_by_all_but_the_last_who_write():
    pool = pool_of(100)
    table, _ = read(pool, text(1, 5))
    forks = [table, pool.fork(table), pool.fork(table)]
    assert pool.held == 2
    shared = table.blocks[1]
    copies = []
    for fork in forks:
        needed = pool.missing(fork, SPAN + 6, SPAN + 5)
        made = pool.extend(fork, SPAN + 6, SPAN + 5)
        assert needed == len(made)
        copies += made
    assert [pair[0] for pair in copies] == [shared, shared]
    assert forks[2].blocks[1] == shared
    assert len({fork.blocks[1] for fork in forks}) == 3
    assert len({fork.blocks[0] for fork in forks}) == 1
    assert pool.held == 4
    for fork in forks:
        pool.release(fork)
    assert (pool.held, pool.cached) == (0, 1)


def test_an_empty_pool_begins_anew():
    pool = pool_of(100, keeps=False)
    table, _ = read(pool, text(9))
    assert pool.numbered == 9
    pool.release(table)
    assert pool.numbered == 0


@pytest.mark.parametrize("tokens", [[], [5], text(1)])
def test_nothing_is_found_of_little(tokens):
    pool = pool_of(100)
    pool.release(read(pool, text(4))[0])
    assert not pool.find(tokens).blocks
