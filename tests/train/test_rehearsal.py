"""The thrown-away first step: it meets the longest rows, and leaves no trace."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters, LoRASettings
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.rehearsal import longest_batch, rehearse
from tiny import tiny_lm
from tiny_v3 import tiny_v3

SETTINGS = OptimSettings(learning_rate=1e-2, warmup_steps=0, weight_decay=0.1)
BATCH = longest_batch(row_tokens=20, prompt_tokens=10, micro_batch_tokens=100, window=2048, vocab_size=259)


def dense() -> Learner:
    lm = tiny_lm()
    lm.network.to(torch.bfloat16)
    return Learner(lm, SETTINGS, 10)


def adapted() -> Learner:
    lm = tiny_lm()
    return Learner(lm, SETTINGS, 10, adapters=Adapters(lm.network, LoRASettings(), 0))


def mixture() -> Learner:
    objectives = Objectives(mtp_weight=0.3, balance_weight=0.01, bias_update_speed=0.01)
    return Learner(tiny_v3(), SETTINGS, 10, objectives)


MAKES = {"dense": dense, "adapted": adapted, "mixture": mixture}


def held(learner: Learner) -> dict[str, torch.Tensor]:
    """Weights, routers' biases, masters, gradients, and what of AdamW there is."""
    tensors = learner.state_dict().tensors | dict(learner.weights())
    tensors |= {f"grad.{i}": grad for i, grad in enumerate(learner.optimizer.grads)}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("make", MAKES)
def test_nothing_is_left_of_it(make):
    learner = MAKES[make]()
    before, streams = held(learner), (torch.get_rng_state(), str(np.random.get_state()), random.getstate())
    rehearsed = rehearse(learner, BATCH)
    assert equal(held(learner), before)
    assert learner.step == 0
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert (str(np.random.get_state()), random.getstate()) == streams[1:]
    assert rehearsed.tokens == 90
    assert rehearsed.seconds > 0
    assert rehearsed.peak_bytes > 1 << 20
    assert rehearsed.most_tokens is None

    other = MAKES[make]()
    for one in (learner, other):
        for _ in range(3):
            one.update([BATCH], sft_loss)
    assert equal(held(learner), held(other))


def test_it_is_over_before_a_step_was_made():
    learner = dense()
    learner.update([BATCH], sft_loss)
    with pytest.raises(AssertionError, match="before the first step"):
        rehearse(learner, BATCH)


def planted(lm: LanguageModel, room: int) -> None:
    def check(_, args) -> None:
        if len(args[0]) > room:
            raise MemoryError

    lm.network.register_forward_pre_hook(check)


def test_what_does_not_fit_is_known_before_the_first_step():
    learner = dense()
    planted(learner.lm, room=60)
    rehearsed = rehearse(learner, BATCH)
    assert learner.most_tokens == rehearsed.most_tokens == 45
    assert "more than 45 tokens at once ran out of memory" in str(rehearsed)
    planted(learner.lm, room=10)
    with pytest.raises(ShoestringError, match="a single row of 30 tokens"):
        rehearse(learner, BATCH)


PEAKS = """
from test_rehearsal import BATCH, SETTINGS
from shoestring.train.learner import Learner
from shoestring.train.rehearsal import longest_batch, rehearse
from tiny import tiny_lm
learner = Learner(tiny_lm(), SETTINGS, 10)
for batch in (BATCH, longest_batch(100, 0, 20_000, 2048, 259)):
    print(rehearse(learner, batch).peak_bytes)
"""


def test_peak_memory_counts_the_step():
    """A step of 60 MB at least shows. In a process of its own: memory that another test gave back is still
    the process's, and would hide it."""
    folders = [
        Path(__file__).parent,
        Path(__file__).parents[1],
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    said = subprocess.run([sys.executable, "-c", PEAKS], env=env, check=True, capture_output=True, text=True)
    small, large = map(int, said.stdout.split())
    assert large > small + (60 << 20)


@pytest.mark.parametrize(
    ("row", "prompt", "limit", "window", "tokens", "targets"),
    [
        (20, 10, 100, 2048, 90, 80),  # 4 rows of 20 behind 10
        (20, 0, 100, 2048, 100, 95),  # without a prompt a row's first token is predicted from nothing
        (500, 10, 100, 2048, 510, 500),  # one row at least
        (500, 10, 100, 64, 64, 54),  # cut to the window
        (500, 100, 100, 64, 100, 38),  # a prompt that leaves room for rows of two
    ],
)
def test_the_longest_micro_batch(row, prompt, limit, window, tokens, targets):
    batch = longest_batch(row, prompt, limit, window, 259)
    assert (batch.num_tokens, batch.num_targets) == (tokens, targets)
    assert batch.packed.positions.max() < window
    assert batch.packed.ids.max() < 259
