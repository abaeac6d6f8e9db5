"""The learner's ranks in actors behind one Learner. Here is a copy of the network that follows theirs: what
looks at the model between updates, and saves it, looks at that."""

import dataclasses
import importlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shoestring.cluster.handover import Weights
from shoestring.cluster.look import Look, Seen
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.members import Member, Members
from shoestring.cluster.parcel import Manifest, entries_of, first_difference, packed, unpacked
from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.world import RankLost
from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.loss import HeadLoss, TokenLoss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.state import TrainState

HEARSAY_S = 15.0  # that one rank's word of a lost one is kept back, for Ray's word on how it ended


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
    """A rank among its fellows; `meet` is where rank 0 waits for them, HOST:PORT."""

    rank: int = 0
    size: int = 1
    meet: str = ""


LearnerMakes = Callable[[LanguageModel, LearnerSettings, Place], Learner]


def one_learner(lm: LanguageModel, settings: LearnerSettings, place: Place) -> Learner:
    """The learner of a single rank."""
    assert place.size == 1, place
    return Learner(lm, settings.optim, settings.total_steps, settings.objectives)


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
        self._at("waiting for work")

    def meet(self) -> str:
        """An address of this machine where nobody listens."""
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{importlib.import_module('ray.util').get_node_ip_address()}:{free.getsockname()[1]}"

    def begin(self, manifest: Manifest, buffer: Any, size: int, meet: str, rank: int) -> Done:
        """Build the learner around these weights."""
        self._at("taking the first weights and meeting the other ranks")
        self._place = Place(rank, size, meet)
        lm = self._settings.skeleton.model(self._settings.device)
        lm.network.take(unpacked(buffer, manifest))
        self._learner = self._makes(lm, self._settings, self._place)
        return self._done(None)

    def update(
        self, order: Order, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float
    ) -> Done:
        learner = self._ordered(order)
        self._at(f"training at step {order.step}")
        return self._done(learner.update(batches, loss_of, temperature), weights=True)

    def try_out(self, order: Order, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss) -> Done:
        learner = self._ordered(order)
        self._at("rehearsing a step")
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


class RemoteLearner(Learner):
    """`lm` is the copy here; it is renewed with every update. Raises WorkerLost from any call where a rank is
    lost: `revive` then starts all ranks anew, to be given a saved state."""

    def __init__(self, lm: LanguageModel, settings: LearnerSettings, members: Members, ray: Any) -> None:
        lm.refuse_quantized("train")
        self.lm, self.settings, self.total_steps = lm, settings.optim, settings.total_steps
        self.objectives, self.adapters = settings.objectives, None
        self.step, self.rate_scale = 0, 1.0
        self.most_tokens: int | None = None
        self.members, self.ray = members, ray
        self._packed: tuple[Manifest, Any] | None = None
        members.start()
        self._begin()

    def revive(self, lost: WorkerLost) -> None:
        """All ranks anew, with the weights of the copy and no optimizer's state. Raises ShoestringError where
        that was done often enough."""
        self.members.start_again(lost)
        self._begin()

    def update(
        self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float = 1.0
    ) -> Metrics:
        phase = f"training at step {self.step}"
        return self._renewed(self._call("update", phase, self._order(), list(batches), loss_of, temperature))

    def try_out(self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss) -> None:
        self._call("try_out", "rehearsing a step", self._order(), list(batches), loss_of)

    def state_dict(self) -> TrainState:
        return self._call("state_dict", "giving its state to be saved").result

    def load_state_dict(self, state: TrainState) -> None:
        """Of a file too, whose tensors are read here and sent: other hosts may not see it."""
        sent = dataclasses.replace(state, tensors=dict(state.tensors), write=None)
        self._renewed(self._call("load_state_dict", "taking a saved state", sent))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """They lie in the object store already, from where generators take them."""
        if self._packed is None:
            return self.lm.network.public_tensors()
        return Weights(self.lm.network.public_tensors, *self._packed)

    def close(self) -> None:
        self.members.close()

    def _begin(self) -> None:
        for member in self.members.all:
            self.members.greet_one(member)
        buffer, manifest = packed(self.lm.network.public_tensors())
        first = self.members.all[0]
        meet = self.members.result(first, first.actor.meet.remote())
        phase = "taking the first weights and meeting the other ranks"
        self._call("begin", phase, manifest, self.ray.put(buffer), len(self.members.all), meet)

    def _order(self) -> Order:
        return Order(self.settings, self.objectives, self.step, self.rate_scale, self.most_tokens)

    def _call(self, method: str, phase: str, *arguments: Any) -> Done:
        """Of every rank; rank 0's answer."""
        ray, members = self.ray, self.members
        shared = [a if isinstance(a, ray.ObjectRef) else ray.put(a) for a in arguments]
        calls: dict[Any, Member] = {}
        for member in members.all:
            member.phase = phase
            own = [member.place] if method == "begin" else []
            calls[getattr(member.actor, method).remote(*shared, *own)] = member
        answers: dict[int, Done] = {}
        missed = ""
        until = time.monotonic() + members.workers.deadline_s
        while calls:  # as they come: one that is gone keeps the others waiting
            ready, _ = ray.wait(list(calls), timeout=max(0.0, until - time.monotonic()))
            if not ready and missed:
                raise WorkerLost(missed)
            if not ready:
                raise members.stalled(next(iter(calls.values())), members.workers.deadline_s)
            member = calls.pop(ready[0])
            try:
                done: Done = members.result(member, ready[0])
            except RankLost as told:  # who it misses says more, once Ray knows of it
                until = min(until, time.monotonic() + HEARSAY_S)
                missed = f"{member.title}: {told}"
                continue
            member.saw(done.look)
            answers[member.place] = done
        if missed:
            raise WorkerLost(missed)
        self.step, self.most_tokens = answers[0].step, answers[0].most_tokens
        return answers[0]

    def _renewed(self, done: Done) -> Any:
        """The copy here follows, and is checked."""
        manifest, (buffer,) = done.manifest, done.buffer
        assert manifest is not None
        self.lm.network.take(unpacked(self.ray.get(buffer), manifest))
        if wrong := first_difference(manifest, entries_of(self.lm.network.public_tensors())):
            raise ShoestringError(f"the trainers' weights didn't come as they were sent: {wrong} differs")
        self._packed = manifest, buffer
        return done.result
