"""The Learner handle: batches in, a better network out. One optimizer step for every stage."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel
from shoestring.train.batch import MicroBatch, hidden_at_targets
from shoestring.train.loss import TokenLoss, head_loss
from shoestring.train.optim import MasterOptimizer, OptimSettings, learning_rate_at
from shoestring.train.state import TrainState

BAD_STEPS = 3  # in a row without a finite gradient, and the run stops


@dataclass(frozen=True)
class Metrics:
    """Of one update. logprobs[i] are micro-batch i's (N,) under the weights before it, on the CPU as the
    batches are."""

    loss: float
    grad_norm: float
    learning_rate: float
    seconds: float
    skipped: bool
    logprobs: list[Tensor]


class Learner:
    """Trains `lm.network` in place, float32 masters beside it where it is bf16."""

    def __init__(self, lm: LanguageModel, settings: OptimSettings, total_steps: int) -> None:
        self.lm, self.settings, self.total_steps = lm, settings, total_steps
        lm.network.requires_grad_(True)
        self.optimizer = MasterOptimizer(lm.network, settings)
        self.step = 0
        self._bad_steps = 0

    def update(self, batches: Sequence[MicroBatch], loss_of: TokenLoss, temperature: float = 1.0) -> Metrics:
        """One optimizer step over all micro-batches. Raises ShoestringError after three steps in a row whose
        gradient is not finite; such a step changes no weight."""
        began = time.perf_counter()
        rate = learning_rate_at(self.settings, self.step, self.total_steps)
        total, logprobs = 0.0, []
        for batch in batches:
            loss, chosen = self.forward(batch, loss_of, temperature)
            loss.backward()
            total += loss.item()
            logprobs.append(chosen.cpu())
        norm = self.optimizer.step(rate)
        self.step += 1
        skipped = norm != norm or norm == float("inf")
        self._bad_steps = self._bad_steps + 1 if skipped else 0
        if self._bad_steps == BAD_STEPS:
            raise ShoestringError(
                f"the gradient was not finite in {BAD_STEPS} steps in a row (last at step {self.step}): "
                "start the stage again with a lower learning rate"
            )
        return Metrics(total, norm, rate, time.perf_counter() - began, skipped, logprobs)

    def forward(
        self, batch: MicroBatch, loss_of: TokenLoss, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Loss () and the targets' logprobs (N,) of one micro-batch."""
        network = self.lm.network
        batch = batch.to(network.embed_tokens.device)
        hidden, targets = hidden_at_targets(network, batch.packed)
        return head_loss(
            hidden,
            network.head_weight,
            targets,
            lambda logprobs, rows: loss_of(logprobs, batch, rows),
            temperature,
            network.head,
        )

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(public name, tensor) of the network as it is now."""
        return self.lm.network.public_tensors()

    def state_dict(self) -> TrainState:
        return TrainState(self.step, self._bad_steps, self.optimizer.tensors())

    def load_state_dict(self, state: TrainState) -> None:
        self.optimizer.load_tensors(state.tensors)
        self.step, self._bad_steps = state.step, state.bad_steps

    def save(self, folder: Path) -> None:
        """The network as a Hugging Face folder."""
        self.lm.save(folder)
