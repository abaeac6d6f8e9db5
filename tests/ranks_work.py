"""What ranks do in tests of `cluster`: importable, since another process runs it."""

import dataclasses
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from shoestring.cluster.expert_parallel import ParallelExperts
from shoestring.cluster.leading import End, LeadingLearner, follow, give
from shoestring.cluster.learner import ParallelLearner
from shoestring.cluster.parallelize import ParallelSettings
from shoestring.cluster.world import World
from shoestring.lm import LanguageModel
from shoestring.models.moe import MLP
from shoestring.models.numerics import use_fp8
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.state import TENSORS, load_state, save_state
from tiny import tiny_lm
from tiny_v3 import tiny_v3

OPTIM = OptimSettings(learning_rate=3e-3, warmup_steps=0, weight_decay=0.1)
V3_OBJECTIVES = Objectives(mtp_weight=0.3, balance_weight=1e-3, bias_update_speed=1e-2)


@dataclass(frozen=True)
class Case:
    """A model, what it learns from and how."""

    v3: bool = True
    objectives: Objectives = field(default_factory=Objectives)
    steps: int = 2
    rows: tuple[int, ...] = (9, 14, 6, 11, 7, 8, 12, 10)  # their lengths, in each step
    each: int = 2  # rows of a micro-batch
    changes: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    fp8: bool = False

    def model(self) -> LanguageModel:
        lm = tiny_v3(**self.changes) if self.v3 else tiny_lm()
        if self.fp8:
            use_fp8(lm.network, True)
        return lm

    def batches(self, step: int) -> list[MicroBatch]:
        generator = torch.Generator().manual_seed(100 + step)
        rows = []
        for i, length in enumerate(self.rows):
            ids = torch.randint(0, 250, (length,), generator=generator).tolist()
            rows.append(Rendered(ids, [False, False] + [True] * (length - 2), f"{step}/{i}"))
        packs = [pack([Family([], rows[at : at + self.each])]) for at in range(0, len(rows), self.each)]
        total = sum(len(p.targets) for p in packs)
        return [MicroBatch(p, torch.full((len(p.targets),), 1.0 / total)) for p in packs]


@dataclass
class Course:
    """Of one or more steps."""

    losses: list[float]
    norms: list[float]
    mtp: list[float | None]
    max_vio: list[list[float] | None]
    logprobs: list[list[Tensor]]
    weights: dict[str, Tensor]
    splits: list[int] = field(default_factory=list)


def course_of(steps: Sequence[Metrics], weights: dict[str, Tensor]) -> Course:
    return Course(
        [m.loss for m in steps],
        [m.grad_norm for m in steps],
        [m.mtp_loss for m in steps],
        [None if m.max_vio is None else m.max_vio.tolist() for m in steps],
        [m.logprobs for m in steps],
        weights,
    )


def alone(case: Case) -> Course:
    """The same in one process, by `train.learner`."""
    lm = case.model()
    lm.network.to(case.dtype)
    learner = Learner(lm, OPTIM, case.steps, case.objectives)
    steps = [learner.update(case.batches(step), sft_loss) for step in range(case.steps)]
    return course_of(steps, {name: tensor.clone() for name, tensor in learner.weights()})


def compare(want: Course, got: Course, tolerance: float = 1e-5) -> None:
    assert got.losses == pytest.approx(want.losses, abs=tolerance)
    assert got.norms == pytest.approx(want.norms, rel=1e-4)
    assert got.mtp == pytest.approx(want.mtp, abs=tolerance)
    assert got.max_vio == want.max_vio  # of counts of tokens: exact
    for mine, theirs in zip(got.logprobs, want.logprobs, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=10 * tolerance, rtol=1e-4)
    assert got.weights.keys() == want.weights.keys()
    for name, tensor in want.weights.items():
        torch.testing.assert_close(got.weights[name], tensor, atol=2e-4, rtol=1e-3, msg=name)


def open_learner(world: World, case: Case, parallel: ParallelSettings) -> ParallelLearner:
    lm = case.model()
    lm.network.to(case.dtype)
    return ParallelLearner(lm, world, parallel, OPTIM, case.steps, case.objectives)


def together(world: World, case: Case, parallel: ParallelSettings) -> Course:
    learner = open_learner(world, case, parallel)
    steps = [learner.update(case.batches(step), sft_loss) for step in range(case.steps)]
    return course_of(steps, {name: tensor.cpu().clone() for name, tensor in learner.weights()})


def many(world: World, cases: Sequence[tuple[Case, ParallelSettings]]) -> list[Course]:
    return [together(world, case, parallel) for case, parallel in cases]


def gradient_alone(case: Case) -> dict[str, Tensor]:
    """By parameter, of the first step."""
    learner = Learner(case.model(), OPTIM, case.steps, case.objectives)
    learner._accumulate(case.batches(0), sft_loss, 1.0)
    return dict(zip(learner.optimizer.names, learner.optimizer.grads, strict=True))


def gradients(world: World, case: Case, parallel: ParallelSettings) -> dict[str, tuple[int, Tensor]]:
    """This rank's numbers of it, and where they begin."""
    learner = open_learner(world, case, parallel)
    learner._accumulate(case.batches(0), sft_loss, 1.0)
    found: dict[str, tuple[int, Tensor]] = {}
    for name, parameter in learner.lm.network.named_parameters():
        assert isinstance(parameter.grad, DTensor)
        found[name] = learner.shares[name].begin, parameter.grad.to_local().flatten()
    return found


def save_halfway(world: World, case: Case, parallel: ParallelSettings, folder: Path) -> Course:
    """The first half of the steps; then model and state are saved."""
    learner = open_learner(world, case, parallel)
    half = [learner.update(case.batches(step), sft_loss) for step in range(case.steps // 2)]
    learner.save(folder / "model")
    save_state_together(world, learner, folder)
    return course_of(half, {name: tensor.clone() for name, tensor in learner.weights()})


def save_state_together(world: World, learner: ParallelLearner, folder: Path) -> None:
    learner.write_state(folder / TENSORS)
    if world.rank == 0:
        save_state(folder, dataclasses.replace(learner.plain_state(), write=lambda _: None), {})


def go_on(world: World, case: Case, parallel: ParallelSettings, folder: Path) -> Course:
    """The second half, from the saved state; the weights are no others than the state's."""
    learner = open_learner(world, dataclasses.replace(case, changes={"seed": 9}), parallel)
    learner.load_state_dict(load_state(folder, {}))
    assert learner.step == case.steps // 2
    rest = [learner.update(case.batches(step), sft_loss) for step in range(learner.step, case.steps)]
    return course_of(rest, {name: tensor.clone() for name, tensor in learner.weights()})


def go_on_alone(case: Case, folder: Path) -> Course:
    lm = tiny_v3(seed=9)
    learner = Learner(lm, OPTIM, case.steps, case.objectives)
    learner.load_state_dict(load_state(folder, {}))
    rest = [learner.update(case.batches(step), sft_loss) for step in range(learner.step, case.steps)]
    return course_of(rest, {name: tensor.clone() for name, tensor in learner.weights()})


def save_alone(case: Case, folder: Path) -> None:
    learner = Learner(case.model(), OPTIM, case.steps, case.objectives)
    for step in range(case.steps // 2):
        learner.update(case.batches(step), sft_loss)
    save_state(folder, learner.state_dict(), {})


def read_and_forward(world: World, case: Case, parallel: ParallelSettings, folder: Path) -> list[Tensor]:
    lm = case.model()
    lm.network.to_empty(device="meta")
    learner = ParallelLearner(lm, world, parallel, OPTIM, case.steps)
    learner.read(folder)
    first, _ = learner.forward_all(case.batches(0), sft_loss)
    second, logprobs = learner.forward_all(case.batches(0), sft_loss)
    assert first == second
    return logprobs


def save_where_one_cannot(world: World, case: Case, folder: Path) -> None:
    learner = open_learner(world, case, ParallelSettings())
    learner.save(folder if world.rank == 0 else folder.parent / "elsewhere")


def save_twice(world: World, case: Case, disk: Path, nbytes: int) -> None:
    """The second time there is no room for another copy beside the first."""
    learner = open_learner(world, case, ParallelSettings())
    learner.save(disk / "model")
    if world.rank == 0:
        (disk / "other").write_bytes(bytes(nbytes // 2))
    world.meet()
    learner.save(disk / "model")


def stall(world: World, case: Case, how: str) -> None:
    """Rank 1 does what `how` says in the middle of the second step."""
    learner = open_learner(world, case, ParallelSettings(expert=world.expert))
    learner.update(case.batches(0), sft_loss)
    if world.rank == 1:
        module = learner.lm.network.layers[1]
        module.register_forward_pre_hook(lambda *_: _misbehave(how))
    learner.update(case.batches(1), sft_loss)


def _misbehave(how: str) -> None:
    time.sleep(2.0)  # so that its watch, which speaks once a second, has named this phase
    if how == "sleep":
        time.sleep(30)
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def state_by_hand(world: World, case: Case, folder: Path) -> dict[str, Tensor]:
    """As it is given, which is as it is written."""
    learner = open_learner(world, case, ParallelSettings(expert=world.expert))
    learner.update(case.batches(0), sft_loss)
    learner.write_state(folder / TENSORS)
    return dict(learner.state_dict().tensors)


def run_out(world: World, case: Case, expert: int, where: str, limit: int) -> Course:
    """Memory runs out on rank 1 for micro-batches of more than `limit` tokens: in the forward pass of a
    layer, between what it sends to experts and what comes back, or in the backward pass."""
    learner = open_learner(world, case, ParallelSettings(expert=expert))
    if world.rank == 1:
        _plant(where, limit)
    steps = [learner.update(case.batches(step), sft_loss) for step in range(case.steps)]
    course = course_of(steps, {name: tensor.clone() for name, tensor in learner.weights()})
    course.splits = [metrics.oom_splits for metrics in steps]
    return course


def _plant(where: str, limit: int) -> None:
    left = [1]  # once: the others' tokens, which a rank that ran out still passes on, are as many as before

    def check(tokens: int) -> None:
        if tokens > limit and left:
            left.pop()
            raise torch.OutOfMemoryError("planted")

    if where == "forward":
        plain = MLP.forward
        MLP.forward = lambda self, x: (check(len(x)), plain(self, x))[1]  # type: ignore[method-assign]
    elif where == "experts":
        own = ParallelExperts._own

        def planted(self: ParallelExperts, x: Tensor, counts: Tensor) -> Tensor:
            assert self.told is not None
            check(int(self.told[0].sum()) // 2)  # two experts a token
            return own(self, x, counts)

        ParallelExperts._own = planted  # type: ignore[method-assign]
    else:
        there = ParallelExperts._there

        def hooked(self: ParallelExperts, x: Tensor) -> Tensor:
            if x.requires_grad:
                x.register_hook(lambda grad: check(len(grad) // 2))
            return there(self, x)

        ParallelExperts._there = hooked  # type: ignore[method-assign]


def led(world: World, case: Case, folder: Path, resume: bool) -> Course | None:
    """A job on rank 0 with one Learner, which is all ranks: half the steps, or the rest from the state."""
    if world.rank:
        follow(world)
        return None
    parallel = ParallelSettings(expert=world.expert)
    lm = case.model()
    learner = LeadingLearner(lm, world, parallel, OPTIM, case.steps, case.objectives)
    if resume:
        learner.load_state_dict(load_state(folder, {}))
    last = case.steps if resume else case.steps // 2
    steps = [learner.update(case.batches(step), sft_loss) for step in range(learner.step, last)]
    save_state(folder, learner.state_dict(), {})
    kept = learner.snapshot()
    learner.update(case.batches(7), sft_loss)
    learner.load_state_dict(kept)
    learner.forward(case.batches(0)[0], sft_loss)
    give(world, End())
    return course_of(steps, {name: tensor.clone() for name, tensor in lm.network.public_tensors()})


def shared_bytes(world: World, case: Case) -> int:
    """Of this rank's masters."""
    learner = open_learner(world, case, ParallelSettings(expert=world.expert))
    return sum(share.local.numel() * share.local.element_size() for share in learner.shares.values())


def replayed(world: World, case: Case, parallel: ParallelSettings, batch: MicroBatch) -> tuple[float, float]:
    """Loss and norm of a step over a batch that brings its routing."""
    metrics = open_learner(world, case, parallel).update([batch], sft_loss)
    return metrics.loss, metrics.grad_norm


def measured(world: World, case: Case, parallel: ParallelSettings) -> tuple[int, float, float]:
    """Bytes that came to this rank, seconds in collectives and in all, of the steps after the first."""
    learner = open_learner(world, case, parallel)
    learner.update(case.batches(0), sft_loss)
    world.traffic.num_bytes, world.traffic.seconds = 0, 0.0
    began = time.perf_counter()
    for step in range(1, case.steps):
        learner.update(case.batches(step), sft_loss)
    return world.traffic.num_bytes, world.traffic.seconds, time.perf_counter() - began
