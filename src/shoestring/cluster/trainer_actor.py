"""One rank of the learner in a process of its own."""

import importlib
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from shoestring.cluster.look import Look, Seen
from shoestring.cluster.parcel import Manifest, packed, unpacked
from shoestring.cluster.skeleton import Skeleton
from shoestring.lm import LanguageModel
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.loss import HeadLoss, TokenLoss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.state import TrainState


@dataclass(frozen=True)
class LearnerSettings:
    """What a rank's learner is made of."""

    skeleton: Skeleton
    device: str
    optim: OptimSettings
    total_steps: int
    objectives: Objectives


@dataclass(frozen=True)
class Place:
    """A rank among its fellows; `meet` is where rank 0 waits for them, HOST:PORT, at its `door`."""

    rank: int = 0
    size: int = 1
    meet: str = ""
    door: socket.socket | None = None


LearnerMakes = Callable[[LanguageModel, LearnerSettings, Place], Learner]


@dataclass(frozen=True)
class Order:
    """The learner's plain state, which jobs set at will, as it is to be for a call."""

    optim: OptimSettings
    objectives: Objectives
    step: int
    rate_scale: float
    most_tokens: int | None


@dataclass(frozen=True)
class Done:
    """What a call made: a result, the learner's plain state after it, and the weights as rank 0 put them into
    the object store ([reference]; empty where they didn't change)."""

    result: Any
    step: int
    most_tokens: int | None
    look: Look
    manifest: Manifest | None = None
    buffer: list[Any] = field(default_factory=list)


class TrainerActor(Seen):
    """One rank."""

    def __init__(self, settings: LearnerSettings, makes: LearnerMakes) -> None:
        super().__init__()
        self._settings, self._makes, self._place = settings, makes, Place()
        self._learner: Learner | None = None
        self._door: socket.socket | None = None
        self._at("waiting for work")

    def meet(self) -> str:
        """An address of this machine where this process listens from now on: a port that is free, and then
        let go of, may be somebody else's by the time that the ranks meet."""
        self._door = socket.create_server(("", 0))
        return f"{importlib.import_module('ray.util').get_node_ip_address()}:{self._door.getsockname()[1]}"

    def begin(self, manifest: Manifest, buffer: Any, size: int, meet: str, rank: int) -> Done:
        """Build the learner around these weights."""
        self._at("taking the first weights and meeting the other ranks")
        self._place = Place(rank, size, meet, self._door)
        lm = self._settings.skeleton.model(self._settings.device)
        lm.network.take(unpacked(buffer, manifest))
        self._learner = self._makes(lm, self._settings, self._place)
        if self._door is not None:
            self._door.close()  # of a single rank, which meets nobody; else the ranks' store has it
        return self._done(None)

    def update(
        self, order: Order, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float
    ) -> Done:
        learner = self._ordered(order)
        self._at(f"training at step {order.step}")
        with self._heard_with_each_pass(learner):
            metrics = learner.update(batches, loss_of, temperature)
        return self._done(metrics, weights=True)

    def try_out(self, order: Order, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss) -> Done:
        learner = self._ordered(order)
        self._at("rehearsing a step")
        with self._heard_with_each_pass(learner):
            learner.try_out(batches, loss_of)
        return self._done(None)

    def state_dict(self) -> Done:
        assert self._learner is not None
        self._at("giving its state to be saved")
        state = self._learner.state_dict()  # by every rank: it may have to be gathered
        return self._done(state if self._place.rank == 0 else None)

    def load_state_dict(self, state: TrainState) -> Done:
        assert self._learner is not None
        self._at("taking a saved state")
        self._learner.load_state_dict(state)
        return self._done(None, weights=True)

    @contextmanager
    def _heard_with_each_pass(self, learner: Learner) -> Iterator[None]:
        """Many micro-batches may take longer than one may be silent."""
        hook = learner.lm.network.register_forward_hook(lambda *_: self._goes_on())
        try:
            yield
        finally:
            hook.remove()

    def _ordered(self, order: Order) -> Learner:
        learner = self._learner
        assert learner is not None
        learner.settings, learner.objectives, learner.step = order.optim, order.objectives, order.step
        learner.rate_scale, learner.most_tokens = order.rate_scale, order.most_tokens
        return learner

    def _done(self, result: Any, weights: bool = False) -> Done:
        learner = self._learner
        assert learner is not None
        put: dict[str, Any] = {}
        if weights and self._place.rank == 0:
            buffer, manifest = packed(learner.weights())
            put = {"manifest": manifest, "buffer": [importlib.import_module("ray").put(buffer)]}
        elif weights:
            for _ in learner.weights():  # the other ranks help to put them together
                pass
        done = Done(result, learner.step, learner.most_tokens, self.look(), **put)
        self._at("waiting for work")
        return done
