"""One step over many ranks is the step of one process, whatever the number of ranks and how experts lie."""

import dataclasses
import math

import pytest
import torch

from ranks import run
from ranks_work import (
    V3_OBJECTIVES,
    Case,
    alone,
    compare,
    gradient_alone,
    gradients,
    many,
    measured,
    together,
)
from shoestring.cluster.parallelize import ParallelSettings
from shoestring.train.objectives import Objectives

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


@pytest.mark.slow
@pytest.mark.parametrize(("size", "expert"), WORLDS)
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


@pytest.mark.slow
def test_twenty_steps_of_four_ranks_that_share_experts_in_pairs() -> None:
    case = dataclasses.replace(PLAIN, steps=20)
    want = alone(case)
    assert len(want.losses) == 20
    for course in run(4, together, case, ParallelSettings(expert=2), expert=2):
        compare(want, course)


@pytest.mark.slow
def test_in_bf16_products_are_narrow_and_sums_are_wide() -> None:
    """Two steps: after four, rounding alone has parted even float32 from bfloat16 in one process by 0.03."""
    case = dataclasses.replace(PLAIN, dtype=torch.bfloat16, steps=2)
    want = alone(case)
    for course in run(2, together, case, ParallelSettings(expert=2), expert=2):
        assert course.losses == pytest.approx(want.losses, abs=5e-3)
        assert course.norms == pytest.approx(want.norms, rel=1e-2)
        assert all(tensor.dtype == want.weights[name].dtype for name, tensor in course.weights.items())


@pytest.mark.slow
@pytest.mark.parametrize(("size", "expert"), [(2, 1), (2, 2), (4, 2)])
def test_in_fp8_ranks_part_from_one_process_by_its_rounding(size: int, expert: int) -> None:
    """A weight's gradient is rounded in tiles along the tokens. Where ranks share experts the tokens of
    several passes lie in one: the first loss is that of one process, the second one that of other tiles."""
    case = dataclasses.replace(PLAIN, fp8=True, steps=2)
    want = alone(case)
    for course in run(size, together, case, ParallelSettings(expert=expert), expert=expert):
        assert course.losses[0] == pytest.approx(want.losses[0], abs=1e-5)
        assert course.losses == pytest.approx(want.losses, abs=1e-5 if expert == 1 else 5e-3)
        assert course.norms == pytest.approx(want.norms, rel=1e-4 if expert == 1 else 1e-2)


@pytest.mark.slow
def test_what_comes_to_a_rank_is_counted() -> None:
    """By hand: with all experts shared by the two ranks, dense weights come once for each pass (the layers'
    twice, in the backward pass again) and their gradients as float32 once; half of either is the other
    rank's."""
    case = dataclasses.replace(PLAIN, objectives=Objectives(), steps=2, rows=(9, 9), each=1)
    ((num_bytes, seconds, whole), _) = run(2, measured, case, ParallelSettings(expert=2), expert=2)
    assert 0 < seconds < whole
    lm = case.model()
    dense = {n: p.numel() for n, p in lm.network.named_parameters() if ".experts." not in n}
    once = sum(count for n, count in dense.items() if n.split(".")[0] not in ("layers", "mtp"))
    layers = sum(count for n, count in dense.items() if n.startswith("layers"))
    weights = 4 * (2 * once + 3 * layers) / 2
    tokens = num_bytes - weights
    a_pair, layers_with_experts = 32 * 4, 2
    most = 9 * 2 * a_pair * layers_with_experts * 4  # every pair there and back, forward and backward
    assert 0 < tokens < 1.05 * most  # no rows of odd counts are filled up by FSDP beyond a few


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("recompute", ["none", "layers"])
def test_ranks_on_gpus_take_the_steps_of_one_process(recompute: str) -> None:
    size = min(4, torch.cuda.device_count())
    expert = size if size in (1, 2, 4) else 1
    want = alone(PLAIN)
    settings = ParallelSettings(expert=expert, recompute=recompute)
    for course in run(size, together, PLAIN, settings, expert=expert, device="cuda"):
        compare(want, course, tolerance=1e-4)
