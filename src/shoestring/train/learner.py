"""The Learner handle: batches in, a better network out. One optimizer step for every stage."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.ops.memory import Creep, give_back, ran_out
from shoestring.train.batch import MicroBatch
from shoestring.train.lora import Adapters
from shoestring.train.loss import HeadLoss, TokenLoss
from shoestring.train.objectives import LoadCount, Objectives, balance_biases
from shoestring.train.optim import MasterOptimizer, OptimSettings, learning_rate_at
from shoestring.train.passes import Passed, forward_pass
from shoestring.train.split import num_samples, parts_within
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
    mtp_loss: float | None = None  # mean over MTP modules, without its weight
    max_vio: Tensor | None = None  # (mixture layers,) of the experts' load in this step
    oom_splits: int = 0  # times that a micro-batch ran out of memory and the step began anew, in smaller ones


@dataclass
class _Summed:
    """What the passes over a step's micro-batches gave beside the gradient."""

    loss: float = 0.0
    mtp: float = 0.0
    logprobs: list[Tensor] = field(default_factory=list)
    count: LoadCount = field(default_factory=LoadCount)
    oom_splits: int = 0


class Learner:
    """Trains `lm.network` in place, float32 masters beside it where it is bf16; with `adapters` of that
    network it trains them alone. most_tokens: of a micro-batch, once a larger one ran out of memory."""

    def __init__(
        self,
        lm: LanguageModel,
        settings: OptimSettings,
        total_steps: int,
        objectives: Objectives | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        """Raises BadInput where an objective would change what adapters don't hold, or weights are
        quantised."""
        lm.refuse_quantized("train")
        self.lm, self.settings, self.total_steps = lm, settings, total_steps
        self.objectives, self.adapters = objectives or Objectives(), adapters
        if adapters is None:
            lm.network.requires_grad_(True)
        elif self.objectives.mtp_weight or self.objectives.bias_update_speed:
            raise BadInput(
                "lora trains matrices of the main layers alone: leave out objectives.mtp_weight and "
                "objectives.bias_update_speed"
            )
        self.optimizer = MasterOptimizer(lm.network, settings)
        self._at_first_step()

    def _at_first_step(self) -> None:
        self.step, self._bad_steps = 0, 0
        self.rate_scale = 1.0  # of the schedule's learning rate; not part of the state
        self.most_tokens: int | None = None
        self._creep = Creep(self.lm.device)

    def update(
        self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float = 1.0
    ) -> Metrics:
        """One optimizer step over all micro-batches. Raises ShoestringError after three steps in a row whose
        gradient is not finite; such a step changes no weight."""
        began = time.perf_counter()
        rate = self.rate_scale * learning_rate_at(self.settings, self.step, self.total_steps)
        summed = self._accumulate(batches, loss_of, temperature)
        norm = self._step(rate)
        self.step += 1
        skipped = norm != norm or norm == float("inf")
        loads = summed.count.loads
        if loads is not None and self.objectives.bias_update_speed and not skipped:
            balance_biases(self.lm.network, loads, self.objectives.bias_update_speed)
        self._bad_steps = self._bad_steps + 1 if skipped else 0
        self._creep.look()
        if self._bad_steps == BAD_STEPS:
            raise ShoestringError(
                f"the gradient was not finite in {BAD_STEPS} steps in a row (last at step {self.step}): "
                "start the stage again with a lower learning rate"
            )
        return Metrics(
            loss=summed.loss,
            grad_norm=norm,
            learning_rate=rate,
            seconds=time.perf_counter() - began,
            skipped=skipped,
            logprobs=summed.logprobs,
            mtp_loss=summed.mtp if self.objectives.mtp_weight and len(self.lm.network.mtp) else None,
            max_vio=summed.count.max_violation(),
            oom_splits=summed.oom_splits,
        )

    def try_out(self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss) -> None:
        """Work and memory of a first update, without it: nothing is changed but `most_tokens`."""
        self._accumulate(batches, loss_of, 1.0)
        with optimizer_fits():
            self.optimizer.try_out()

    def _step(self, rate: float) -> float:
        with optimizer_fits():
            norm = self.optimizer.step(rate)
        if self.adapters is not None:
            self.adapters.merge()
        return norm

    def _accumulate(
        self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float
    ) -> _Summed:
        """The gradient of all micro-batches. Where one runs out of memory part of its gradient may have been
        added already, and there is no room for a copy to go back to: the sum begins anew with smaller
        micro-batches, which later steps keep to. Raises ShoestringError where a single row doesn't fit."""
        splits = 0
        while True:
            summed = _Summed(oom_splits=splits)
            parts = [parts_within(batch, self.most_tokens) for batch in batches]
            failed = self._add_up(parts, loss_of, temperature, summed)
            if failed is None:
                return summed
            self.optimizer.clear()
            give_back(self.lm.device)
            if num_samples(failed.packed) < 2:
                raise row_too_long(failed.num_tokens)
            self.most_tokens = failed.num_tokens // 2
            splits += 1

    def _add_up(
        self,
        parts: list[list[MicroBatch]],
        loss_of: TokenLoss | HeadLoss,
        temperature: float,
        summed: _Summed,
    ) -> MicroBatch | None:
        """parts[i] of the given micro-batch i -> the one that ran out of memory; the rest is not tried."""
        rows = sum(len(batch.packed.lengths) for some in parts for batch in some)
        for some in parts:
            logprobs: list[Tensor] = []
            for batch in some:
                try:
                    passed = self._pass(batch, loss_of, temperature, len(batch.packed.lengths) / rows)
                    passed.total.backward()
                except (RuntimeError, MemoryError) as error:
                    if not ran_out(error):
                        raise
                    return batch  # whose graph goes with the error
                summed.loss += passed.main.item()
                summed.mtp += passed.mtp
                logprobs.append(passed.logprobs.cpu())
                summed.count.add(passed.outputs)
            summed.logprobs.append(logprobs[0] if len(logprobs) == 1 else torch.cat(logprobs))
        return None

    def forward(
        self, batch: MicroBatch, loss_of: TokenLoss | HeadLoss, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Loss () and the targets' logprobs (N,) of one micro-batch."""
        passed = self._pass(batch, loss_of, temperature, 1.0)
        return passed.total, passed.logprobs

    def _pass(
        self, batch: MicroBatch, loss_of: TokenLoss | HeadLoss, temperature: float, share: float
    ) -> Passed:
        return forward_pass(self.lm.network, batch, loss_of, temperature, self.objectives, share)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(public name, tensor) of the network as it is now."""
        return self.lm.network.public_tensors()

    def state_dict(self) -> TrainState:
        routers = enumerate(self.lm.network.routers())
        biases = {f"router.{i}.bias": router.e_score_correction_bias for i, router in routers}
        tensors = self.optimizer.tensors() | biases
        return TrainState(self.step, self._bad_steps, tensors, self.most_tokens)

    def snapshot(self) -> TrainState:
        """A copy of its state to go back to."""
        state = self.state_dict()
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.tensors.items()}
        return dataclasses.replace(state, tensors=tensors)

    def load_state_dict(self, state: TrainState) -> None:
        self.optimizer.load_tensors(state.tensors)
        for i, router in enumerate(self.lm.network.routers()):
            router.e_score_correction_bias.copy_(state.tensors[f"router.{i}.bias"])
        if self.adapters is not None:
            self.adapters.merge()
        self.step, self._bad_steps, self.most_tokens = state.step, state.bad_steps, state.most_tokens

    def revive(self, lost: ShoestringError) -> None:
        """What works for this learner elsewhere is started anew, with the weights of `lm` and no optimizer's
        state, to be given a saved one. Raises `lost` where nothing does, ShoestringError where that was done
        often enough."""
        raise lost

    def save(self, folder: Path) -> None:
        """The network as a Hugging Face folder."""
        self.lm.save(folder)


def row_too_long(tokens: int) -> ShoestringError:
    return ShoestringError(
        f"out of memory: a single row of {tokens:,} tokens doesn't fit; lower max_completion_tokens (grpo), "
        "max_row_tokens (sft) or sequence_length (pretrain), train an adapter (lora), or take a smaller model"
    )


@contextmanager
def optimizer_fits() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise ShoestringError(
            "out of memory: the optimizer's moments, 8 bytes for each trained number, don't fit; train an "
            "adapter (lora) or take a smaller model"
        ) from None
