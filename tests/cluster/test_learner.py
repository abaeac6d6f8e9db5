"""One step over many ranks is the step of one process, whatever the number of ranks and how experts lie."""

import dataclasses
import math

import pytest
import torch

from ranks import run
from ranks_work import V3_OBJECTIVES, Case, alone, compare, gradient_alone, gradients, many, together
from shoestring.cluster.parallelize import ParallelSettings

WORLDS = [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2), (4, 4)]
PLAIN = Case(objectives=V3_OBJECTIVES)
CASES = {
    "V3": PLAIN,
    "V3, all of a layer made again": PLAIN,
    "V3, attention made again": PLAIN,
    "fewer rows than ranks": dataclasses.replace(PLAIN, rows=(9,)),
    "uneven micro-batches": dataclasses.replace(PLAIN, rows=(20, 3, 3, 5, 17), each=3),
    "no experts": Case(v3=False),
}
RECOMPUTE = {"V3, all of a layer made again": "layers", "V3, attention made again": "attention"}


def settings_of(name: str, expert: int) -> ParallelSettings:
    return ParallelSettings(expert=expert, recompute=RECOMPUTE.get(name, "none"))


def test_two_ranks_that_share_experts_take_the_steps_of_one_process() -> None:
    want = alone(PLAIN)
    for course in run(2, together, PLAIN, ParallelSettings(expert=2), expert=2):
        compare(want, course)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "expert"), WORLDS)
def test_steps_over_ranks_are_those_of_one_process(size: int, expert: int) -> None:
    cases = {name: case for name, case in CASES.items() if expert == 1 or case.v3}
    want = {name: alone(case) for name, case in cases.items()}
    asked = [(case, settings_of(name, expert)) for name, case in cases.items()]
    for courses in run(size, many, asked, expert=expert):
        for name, course in zip(cases, courses, strict=True):
            compare(want[name], course)


@pytest.mark.parametrize(("size", "expert"), [(2, 1), pytest.param(4, 2, marks=pytest.mark.slow)])
def test_gradients_over_ranks_are_those_of_one_process(size: int, expert: int) -> None:
    want = gradient_alone(PLAIN)
    assert len(want) > 40
    parts = run(size, gradients, PLAIN, ParallelSettings(expert=expert), expert=expert)
    for name, whole in want.items():
        found = torch.full((whole.numel(),), math.nan)
        for part in parts:
            begin, values = part[name]
            found[begin : begin + len(values)] = values
        torch.testing.assert_close(found, whole.flatten(), atol=1e-5, rtol=1e-4, msg=name)
