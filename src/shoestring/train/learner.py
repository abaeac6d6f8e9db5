"""The Learner handle: batches in, a better network out. One optimizer step for every stage."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel
from shoestring.models.transformer import Output
from shoestring.train.batch import MicroBatch, Placed
from shoestring.train.loss import TokenLoss, head_loss, sft_loss
from shoestring.train.objectives import LoadCount, Objectives, balance_biases, further_targets
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
    mtp_loss: float | None = None  # mean over MTP modules, without its weight
    max_vio: Tensor | None = None  # (mixture layers,) of the experts' load in this step


@dataclass
class _Passed:
    """What one forward pass gives: the loss to go back from, its main part, and the rest for the metrics."""

    total: Tensor
    main: Tensor
    logprobs: Tensor  # (N,)
    mtp: float
    outputs: list[Output]


class Learner:
    """Trains `lm.network` in place, float32 masters beside it where it is bf16."""

    def __init__(
        self,
        lm: LanguageModel,
        settings: OptimSettings,
        total_steps: int,
        objectives: Objectives | None = None,
    ) -> None:
        self.lm, self.settings, self.total_steps = lm, settings, total_steps
        self.objectives = objectives or Objectives()
        lm.network.requires_grad_(True)
        self.optimizer = MasterOptimizer(lm.network, settings)
        self.step = 0
        self._bad_steps = 0

    def update(self, batches: Sequence[MicroBatch], loss_of: TokenLoss, temperature: float = 1.0) -> Metrics:
        """One optimizer step over all micro-batches. Raises ShoestringError after three steps in a row whose
        gradient is not finite; such a step changes no weight."""
        began = time.perf_counter()
        rate = learning_rate_at(self.settings, self.step, self.total_steps)
        total, mtp, logprobs, count = 0.0, 0.0, [], LoadCount()
        rows = sum(len(batch.packed.lengths) for batch in batches)
        for batch in batches:
            passed = self._pass(batch, loss_of, temperature, len(batch.packed.lengths) / rows)
            passed.total.backward()
            total += passed.main.item()
            mtp += passed.mtp
            logprobs.append(passed.logprobs.cpu())
            count.add(passed.outputs)
        norm = self.optimizer.step(rate)
        self.step += 1
        skipped = norm != norm or norm == float("inf")
        if count.loads is not None and self.objectives.bias_update_speed and not skipped:
            balance_biases(self.lm.network, count.loads, self.objectives.bias_update_speed)
        self._bad_steps = self._bad_steps + 1 if skipped else 0
        if self._bad_steps == BAD_STEPS:
            raise ShoestringError(
                f"the gradient was not finite in {BAD_STEPS} steps in a row (last at step {self.step}): "
                "start the stage again with a lower learning rate"
            )
        seconds = time.perf_counter() - began
        mtp_loss = mtp if self.objectives.mtp_weight and len(self.lm.network.mtp) else None
        return Metrics(total, norm, rate, seconds, skipped, logprobs, mtp_loss, count.max_violation())

    def forward(
        self, batch: MicroBatch, loss_of: TokenLoss, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Loss () and the targets' logprobs (N,) of one micro-batch."""
        passed = self._pass(batch, loss_of, temperature, 1.0)
        return passed.total, passed.logprobs

    def _pass(self, batch: MicroBatch, loss_of: TokenLoss, temperature: float, share: float) -> _Passed:
        """share: of the step's rows, over which its balance loss is a mean."""
        network = self.lm.network
        batch = batch.to(network.embed_tokens.device)
        placed = Placed.of(batch.packed, network.embed_tokens.device)
        output = network(placed.ids, placed.positions, cache=placed.rows, routing=batch.routing)
        main, logprobs = head_loss(
            output.hidden.index_select(0, placed.predict_from),
            network.head_weight,
            placed.targets,
            lambda logprobs: loss_of(logprobs, batch),
            temperature,
            network.head,
        )
        passed = _Passed(main, main, logprobs, 0.0, [output])
        if self.objectives.mtp_weight and len(network.mtp):
            self._add_further(passed, batch, placed)
        if self.objectives.balance_weight:
            for output in passed.outputs:
                if output.aux_loss is not None:
                    passed.total = passed.total + self.objectives.balance_weight * share * output.aux_loss
        return passed

    def _add_further(self, passed: _Passed, batch: MicroBatch, placed: Placed) -> None:
        """The MTP modules' losses (eq. 24-25), cross entropy by the batch's own weights."""
        network, hidden = self.lm.network, passed.outputs[0].hidden
        device, modules = hidden.device, len(network.mtp)
        for depth in range(modules):
            further = further_targets(batch.packed, depth)
            output = network.predict_further(
                depth, hidden, further.next_ids.to(device), placed.positions, placed.rows
            )
            hidden = output.hidden
            weights = batch.weights[further.kept.to(device)] * (self.objectives.mtp_weight / modules)
            own = MicroBatch(batch.packed, weights)
            loss, _ = head_loss(
                hidden.index_select(0, further.predict_from.to(device)),
                network.head_weight,
                further.targets.to(device),
                lambda logprobs, own=own: sft_loss(logprobs, own),
                logits_of=network.head,
            )
            passed.total = passed.total + loss
            passed.mtp += loss.item() / self.objectives.mtp_weight
            passed.outputs.append(output)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(public name, tensor) of the network as it is now."""
        return self.lm.network.public_tensors()

    def state_dict(self) -> TrainState:
        routers = enumerate(self.lm.network.routers())
        biases = {f"router.{i}.bias": router.e_score_correction_bias for i, router in routers}
        return TrainState(self.step, self._bad_steps, self.optimizer.tensors() | biases)

    def load_state_dict(self, state: TrainState) -> None:
        self.optimizer.load_tensors(state.tensors)
        for i, router in enumerate(self.lm.network.routers()):
            router.e_score_correction_bias.copy_(state.tensors[f"router.{i}.bias"])
        self.step, self._bad_steps = state.step, state.bad_steps

    def save(self, folder: Path) -> None:
        """The network as a Hugging Face folder."""
        self.lm.save(folder)
