"""One thrown-away step with the longest rows there can be: what won't fit says so at once."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from shoestring.ops.memory import peak_bytes, reset_peak
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.loss import TokenLoss, sft_loss


@dataclass(frozen=True)
class Rehearsed:
    """seconds of a forward and backward pass over `tokens` and an optimizer step; peak_bytes that the process
    held meanwhile (on a GPU: its tensors). most_tokens: of a micro-batch, where more ran out of memory."""

    seconds: float
    peak_bytes: int
    tokens: int
    most_tokens: int | None

    def __str__(self) -> str:
        said = (
            f"rehearsal: a micro-batch of {self.tokens:,} tokens and an update took {self.seconds:.1f} s, "
            f"at most {self.peak_bytes / 2**30:.2f} GiB"
        )
        if self.most_tokens is not None:
            said += f"; more than {self.most_tokens:,} tokens at once ran out of memory and are split"
        return said


def longest_batch(
    row_tokens: int, prompt_tokens: int, micro_batch_tokens: int, window: int, vocab_size: int
) -> MicroBatch:
    """As many rows of `row_tokens`, all of them targets, behind one prompt as a micro-batch takes, and one
    at least; cut to the model's window. Random ids, so that experts are all met."""
    prompt_tokens = min(prompt_tokens, window - 2)
    row_tokens = min(max(2, row_tokens), window - prompt_tokens)
    count = max(1, (micro_batch_tokens - prompt_tokens) // row_tokens)
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, vocab_size, prompt_tokens).tolist()
    rows = [
        Rendered(rng.integers(0, vocab_size, row_tokens).tolist(), [True] * row_tokens, f"rehearsal/{i}")
        for i in range(count)
    ]
    packed = pack([Family(prompt, rows)])
    targets = len(packed.targets)
    zeros = torch.zeros(targets)
    return MicroBatch(packed, torch.full((targets,), 1.0 / targets), zeros, zeros.clone(), zeros.clone())


def rehearse(learner: Learner, batch: MicroBatch, loss_of: TokenLoss = sft_loss) -> Rehearsed:
    """A step over the batch that leaves weights, moments, the step count and routers' biases as they were,
    bit for bit. Raises ShoestringError where even a single row doesn't fit."""
    device = learner.lm.device
    reset_peak(device)
    began = time.perf_counter()
    learner.try_out([batch], loss_of)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    return Rehearsed(seconds, peak_bytes(device), batch.num_tokens, learner.most_tokens)
