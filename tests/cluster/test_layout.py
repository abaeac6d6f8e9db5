"""Bytes of a rank, for models of any size, against the network's own count and real ranks."""

import pytest

from ranks import run
from ranks_work import Case, shared_bytes
from shoestring.cluster.layout import Layout, held_by_ranks, pieces_of, stages_of
from shoestring.errors import BadInput
from shoestring.models.parameters import count_parameters
from shoestring.models.presets import V3_671B
from tiny_v3 import V3

PUBLISHED = Layout(data=128, expert=64, pipeline=16, both_ends=True)


def test_pieces_are_the_whole_network() -> None:
    pieces = pieces_of(V3_671B)
    sizes = count_parameters(V3_671B)
    assert len(pieces) == 1 + 61 + 1 + 1
    assert sum(p.dense + p.experts for p in pieces) == sizes.total + sizes.mtp
    assert pieces[0].dense == 129280 * 7168
    assert [p.experts > 0 for p in pieces] == [False] * 4 + [True] * 59 + [False]


def test_the_published_layout_of_the_671b_model() -> None:
    """By hand: a middle stage has 4 layers of 256 experts, of which a rank has 4, and two such stages."""
    held = held_by_ranks(V3_671B, PUBLISHED, "published")
    assert len(held) == 8
    expert = 3 * 7168 * 2048
    dense = pieces_of(V3_671B)[10].dense
    stage = 4 * (dense + 4 * expert)
    assert held[3].weights == 2 * 2 * stage
    assert held[3].gradients == 2 * 4 * stage
    assert held[3].optimizer == pytest.approx(2 * 8 * (4 * dense / 128 + 4 * 4 * expert / 2), rel=1e-6)
    assert max(h.total for h in held) < 80 * 2**30  # of an H800


def test_shared_out_as_here_every_number_lies_once() -> None:
    sizes = count_parameters(V3_671B)
    (held,) = held_by_ranks(V3_671B, Layout(data=2048, expert=64), "shared")
    assert held.weights * 2048 == pytest.approx(4 * (sizes.total + sizes.mtp), rel=1e-6)
    assert held.optimizer == 2 * held.weights
    (alone,) = held_by_ranks(V3_671B, Layout(data=2048), "shared")
    assert alone.gathered > 5 * held.gathered  # all experts of a layer
    (with_tokens,) = held_by_ranks(V3_671B, Layout(data=2048, expert=64), "shared", tokens=4096)
    assert with_tokens.total > held.total


@pytest.mark.slow
def test_ranks_hold_what_was_reckoned() -> None:
    (held,) = held_by_ranks(V3, Layout(data=4, expert=2), "shared")
    found = run(4, shared_bytes, Case(), expert=2)
    assert sum(found) == 4 * (count_parameters(V3).total + count_parameters(V3).mtp)
    assert held.weights <= max(found) <= 1.02 * held.weights  # parts of 259 rows differ by one


def test_what_cannot_be_laid_out_is_refused() -> None:
    with pytest.raises(BadInput, match="expert 3 doesn't divide data 4"):
        held_by_ranks(V3, Layout(data=4, expert=3), "shared")
    with pytest.raises(BadInput, match="expert 16 doesn't divide the 8 experts"):
        held_by_ranks(V3, Layout(data=16, expert=16), "shared")
    with pytest.raises(BadInput, match="as published alone"):
        held_by_ranks(V3, Layout(data=4, pipeline=2), "shared")
    with pytest.raises(BadInput, match="an even number of them, not 3"):
        held_by_ranks(V3, Layout(data=4, pipeline=3, both_ends=True), "published")
    with pytest.raises(BadInput, match="pipeline 5: the model has 4 layers"):
        stages_of(pieces_of(V3), 5)
