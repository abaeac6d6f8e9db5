"""Memory that runs out on one rank in the middle of a pass: all ranks agree on smaller micro-batches, and the
step is the same."""

import dataclasses

import pytest

from ranks import run
from ranks_work import V3_OBJECTIVES, Case, alone, compare, run_out
from shoestring.errors import ShoestringError

CASE = Case(objectives=V3_OBJECTIVES, rows=(9, 14, 6, 11, 7, 8, 12, 10), each=4)


@pytest.mark.parametrize(
    ("where", "size", "expert"),
    [
        ("experts", 2, 2),
        *[
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("forward", 2, 1), ("forward", 4, 2), ("experts", 4, 4), ("backward", 4, 2)]
        ],
    ],
)
def test_the_step_is_the_same_in_smaller_pieces(where: str, size: int, expert: int) -> None:
    want = alone(CASE)
    for course in run(size, run_out, CASE, expert, where, 20, expert=expert):
        compare(want, course)
        assert course.splits == [1, 0]  # later steps keep to it


def test_a_single_row_that_does_not_fit_ends_all_ranks() -> None:
    case = dataclasses.replace(CASE, rows=(40, 45), each=1)
    for result in run(2, run_out, case, 2, "experts", 20, expert=2, allow=True):
        assert isinstance(result, ShoestringError)
        assert "a single row of 40 tokens" in str(result)
