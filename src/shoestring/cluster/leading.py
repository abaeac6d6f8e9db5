"""Rank 0 does a job and the other ranks train at its word: to the job they are one Learner."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from shoestring.cluster.learner import ParallelLearner
from shoestring.cluster.parallelize import ParallelSettings, check_fits
from shoestring.cluster.watch import IDLE
from shoestring.cluster.world import RankLost, World
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.models.config import ModelConfig
from shoestring.models.numerics import use_fp8, uses_fp8
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.lora import Adapters
from shoestring.train.loss import HeadLoss, TokenLoss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.state import StateFile, TrainState


@dataclass(frozen=True)
class Begin:
    """The first order: what a learner is of. The weights follow it, one after the other. Tokenizer and
    template stay with rank 0, whose model alone meets text."""

    config: ModelConfig
    dtype: torch.dtype
    fp8: bool
    name: str
    parallel: ParallelSettings
    optim: OptimSettings
    total_steps: int
    objectives: Objectives

    def learner(self, world: World) -> ParallelLearner:
        with torch.device("meta"):
            network = Transformer(self.config).to(self.dtype)
        use_fp8(network, self.fp8)
        nothing: Any = None
        lm = LanguageModel(network, nothing, nothing, self.config, Lineage(()), self.name)
        return ParallelLearner(lm, world, self.parallel, self.optim, self.total_steps, self.objectives)


@dataclass(frozen=True)
class Call:
    """A later order: a method and what it is called with. The learner's plain state, which jobs set at will,
    goes with it."""

    method: str
    arguments: tuple[Any, ...]
    optim: OptimSettings
    objectives: Objectives
    step: int
    rate_scale: float
    most_tokens: int | None

    def on(self, learner: ParallelLearner) -> Any:
        learner.settings, learner.objectives, learner.step = self.optim, self.objectives, self.step
        learner.rate_scale, learner.most_tokens = self.rate_scale, self.most_tokens
        if self.method == "weights":
            return learner.weights()
        return getattr(learner, self.method)(*self.arguments)


@dataclass(frozen=True)
class End:
    """The last order."""


Order = Begin | Call | End


def give(world: World, order: Order) -> None:
    """Of rank 0, to all others."""
    with world.phase("an order to the others"):
        dist.broadcast_object_list([order], src=0, group=world.orders)


def take(world: World) -> Order:
    """Of the others: waits as long as it takes."""
    box: list[Any] = [None]
    with world.phase(IDLE):
        dist.broadcast_object_list(box, src=0, group=world.orders)
    return box[0]


def follow(world: World) -> None:
    """A rank other than 0, from its first order to the last."""
    learner: ParallelLearner | None = None
    while not isinstance(order := take(world), End):
        if isinstance(order, Begin):
            learner = None  # the memory of an earlier stage's
            learner = order.learner(world)
            learner.load(handed_on(world, learner))
            continue
        assert learner is not None, "rank 0 begins with a learner"
        try:
            made = order.on(learner)
            if order.method == "weights":
                for _ in made:
                    pass
        except RankLost:
            raise
        except ShoestringError:  # on all ranks alike: rank 0 says it, and what comes of it
            continue


def handed_on(
    world: World, learner: ParallelLearner, whole: Transformer | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Rank 0's tensors on all ranks, one at a time."""
    own = dict(whole.public_tensors()) if whole is not None else {}
    buffers = {name for name, _ in learner.lm.network.named_buffers()}
    with world.phase("first weights"):
        for name, span in learner.spans.items():
            dtype = torch.float32 if span.parameter in buffers else learner.dtype
            if whole is None:
                tensor = torch.empty(span.shape, dtype=dtype, device=world.device)
            else:
                tensor = own[name].to(world.device).contiguous()
            dist.broadcast(tensor, src=0, group=world.everyone)
            yield name, tensor


class LeadingLearner(Learner):
    """Rank 0's handle of all ranks. `lm` is a whole copy here, which is renewed with every update: jobs
    sample from it, measure it and save it."""

    def __init__(
        self,
        lm: LanguageModel,
        world: World,
        parallel: ParallelSettings,
        optim: OptimSettings,
        total_steps: int,
        objectives: Objectives | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        """Raises BadInput, before the others hear of it, where model and ranks don't fit."""
        lm.refuse_quantized("train")
        if adapters is not None:
            raise BadInput("lora is trained by one process: start it without torchrun, or leave lora out")
        check_fits(lm.config, world.size, parallel)
        self.lm, self.settings, self.total_steps = lm, optim, total_steps
        self.objectives, self.adapters, self.world = objectives or Objectives(), None, world
        self.step, self.rate_scale, self._bad_steps = 0, 1.0, 0
        self.most_tokens: int | None = None
        fp8 = uses_fp8(lm.network)
        given = parallel, optim, total_steps, self.objectives
        begin = Begin(lm.config, lm.dtype, fp8, lm.name, *given)
        give(world, begin)
        with world.together():
            self._own = begin.learner(world)
            self._own.load(handed_on(world, self._own, lm.network))

    def update(
        self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float = 1.0
    ) -> Metrics:
        metrics = self._call("update", list(batches), loss_of, temperature)
        self._renew()
        return metrics

    def try_out(self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss) -> None:
        self._call("try_out", list(batches), loss_of)

    def forward(
        self, batch: MicroBatch, loss_of: TokenLoss | HeadLoss, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        return self._call("forward", batch, loss_of, temperature)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        return self.lm.network.public_tensors()

    def state_dict(self) -> TrainState:
        """Its tensors stay where they are: its `write` has all ranks write their file."""
        return dataclasses.replace(self._own.plain_state(), write=self._write_state)

    def snapshot(self) -> TrainState:
        """Gathered here, whole."""
        return self._call("state_dict")

    def load_state_dict(self, state: TrainState) -> None:
        """Of a file, which all ranks must see, each rank reads its own."""
        if isinstance(state.tensors, StateFile):
            self._call("read_state", state.tensors.path.absolute(), dataclasses.replace(state, tensors={}))
        else:
            self._call("load_state_dict", state)
        self._renew()

    def _write_state(self, path: Path) -> None:
        self._call("write_state", path.absolute())

    def _call(self, method: str, *arguments: Any) -> Any:
        plain = self.settings, self.objectives, self.step, self.rate_scale, self.most_tokens
        call = Call(method, arguments, *plain)
        give(self.world, call)
        with self.world.together():
            result = call.on(self._own)
        self.step, self.most_tokens = self._own.step, self._own.most_tokens
        return result

    def _renew(self) -> None:
        with self.world.together():  # they come as they are taken
            self.lm.network.take(self._call("weights"))
