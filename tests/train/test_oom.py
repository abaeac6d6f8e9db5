"""Memory that runs out in a step: the same gradient in smaller micro-batches, or one line."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from shoestring.errors import ShoestringError
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.loss import sft_loss
from shoestring.train.optim import OptimSettings
from shoestring.train.state import load_state, save_state
from tiny import tiny_lm

SETTINGS = OptimSettings(learning_rate=1e-2, warmup_steps=0, max_grad_norm=0)
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 1073741824 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS = {
    "cpu": CPU,
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
    "bad_alloc": MemoryError("std::bad_alloc"),
}
WHERE = ["forward", "backward"]


def batches() -> list[MicroBatch]:
    """12, 34 and 12 tokens; the middle one is a group of four behind a prompt."""
    rows = [
        [Family([], [Rendered(list(range(40, 52)), [True] * 12)])],
        [Family(list(range(60, 70)), [Rendered([100 + i, *range(80, 85)], [True] * 6) for i in range(4)])],
        [Family([], [Rendered(list(range(90, 102)), [True] * 12)])],
    ]
    packs = [pack(families) for families in rows]
    targets = sum(len(p.targets) for p in packs)
    return [MicroBatch(p, torch.full((len(p.targets),), 1.0 / targets)) for p in packs]


class Full:
    """A machine whose memory holds `room` tokens of a network's pass: forward or deep in backward, where
    the head and the last layer already have their gradients, it raises."""

    def __init__(self, learner: Learner, room: int, where: str, error: Exception) -> None:
        self.room, self.error, self.tokens, self.raised = room, error, 0, 0
        self.sizes: list[int] = []
        network = learner.lm.network
        network.register_forward_pre_hook(self._begin)
        if where == "forward":
            network.layers[1].register_forward_pre_hook(lambda *_: self._check())
        else:
            network.layers[0].self_attn.qkv_proj.weight.register_hook(lambda _: self._check())

    def _begin(self, _, args) -> None:
        self.tokens = len(args[0])
        self.sizes.append(self.tokens)

    def _check(self) -> None:
        if self.tokens > self.room:
            self.raised += 1
            raise self.error


def stepped(room: int | None, where: str = "forward", error: Exception = CPU, steps: int = 1):
    learner = Learner(tiny_lm(), SETTINGS, 10)
    full = Full(learner, room or 10**9, where, error)
    updates: list[Metrics] = [learner.update(batches(), sft_loss) for _ in range(steps)]
    return learner, full, updates


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("error", ERRORS)
def test_a_step_that_ran_out_of_memory_is_the_step(where, error):
    _, _, (wanted,) = stepped(None)
    _, full, (update,) = stepped(25, where, ERRORS[error])
    assert full.raised == 1
    assert (update.oom_splits, wanted.oom_splits) == (1, 0)
    assert update.loss == pytest.approx(wanted.loss, rel=1e-6)
    assert update.grad_norm == pytest.approx(wanted.grad_norm, rel=1e-6)
    assert [len(x) for x in update.logprobs] == [len(x) for x in wanted.logprobs]
    for ours, theirs in zip(update.logprobs, wanted.logprobs, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("where", WHERE)
def test_the_gradient_is_the_unsplit_one(where):
    """Read before the optimizer clears it."""

    def gradient(room: int | None) -> list[torch.Tensor]:
        learner = Learner(tiny_lm(), SETTINGS, 10)
        Full(learner, room or 10**9, where, CPU)
        learner._accumulate(batches(), sft_loss, 1.0)
        return [grad.clone() for grad in learner.optimizer.grads]

    wanted, split = gradient(None), gradient(25)
    assert max(w.abs().max() for w in wanted) > 0.01
    for ours, theirs in zip(split, wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("where", WHERE)
def test_later_steps_begin_with_smaller_micro_batches(where):
    learner, full, updates = stepped(25, where, steps=3)
    assert [u.oom_splits for u in updates] == [1, 0, 0]
    assert full.raised == 1
    assert learner.most_tokens == 17
    assert max(full.sizes[2:]) <= 25
    assert updates[2].loss < updates[0].loss


def test_the_limit_is_kept_over_a_resume(tmp_path):
    learner, _, _ = stepped(25)
    save_state(tmp_path, learner.state_dict(), {})
    again = Learner(tiny_lm(), SETTINGS, 10)
    again.load_state_dict(load_state(tmp_path, {}))
    assert again.most_tokens == learner.most_tokens == 17


@pytest.mark.parametrize("where", WHERE)
def test_a_single_row_that_does_not_fit_says_so(where):
    with pytest.raises(ShoestringError, match=r"a single row of 12 tokens .* lower max_completion_tokens"):
        stepped(11, where)


def test_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        stepped(25, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_an_optimizer_that_does_not_fit_says_so(monkeypatch):
    learner = Learner(tiny_lm(), SETTINGS, 10)

    def full(_rate: float) -> float:
        raise CPU

    monkeypatch.setattr(learner.optimizer, "step", full)
    with pytest.raises(ShoestringError, match="optimizer's moments"):
        learner.update(batches(), sft_loss)


REAL = """
    import resource, torch
    from shoestring.text.message import Rendered
    from shoestring.text.packing import Family, pack
    from shoestring.train.batch import MicroBatch
    from shoestring.train.learner import Learner
    from shoestring.train.loss import sft_loss
    from shoestring.train.optim import OptimSettings
    from tiny import tiny_lm

    def batch(rows):
        packed = pack([Family([], [Rendered(list(range(40, 80)), [True] * 40) for _ in range(rows)])])
        return MicroBatch(packed, torch.full((len(packed.targets),), 1 / len(packed.targets)))

    large = batch(2000)
    learner = Learner(tiny_lm(), OptimSettings(warmup_steps=0), 10)
    learner.update([batch(2)], sft_loss)
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (250 << 20),) * 2)
    update = learner.update([large], sft_loss)
    print(update.oom_splits, learner.most_tokens, len(update.logprobs[0]), update.loss > 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_memory_that_really_runs_out():
    """80,000 tokens of a step that takes more than 250 MiB."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REAL)],
        cwd=tests,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    splits, most, targets, positive = done.stdout.split()
    assert int(splits) >= 1
    assert 80 <= int(most) <= 40_000
    assert (targets, positive) == ("78000", "True")
