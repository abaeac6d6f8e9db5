"""The learner's ranks in actors behind one Learner. Here is a copy of the network that follows theirs: what
looks at the model between updates, and saves it, looks at that."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from shoestring.cluster.handover import Weights
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.members import Member, Members
from shoestring.cluster.parcel import LostParcel, Manifest, entries_of, first_difference, packed, unpacked
from shoestring.cluster.trainer_actor import Done, LearnerSettings, Order
from shoestring.cluster.watch import patience_s
from shoestring.cluster.world import RankLost
from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.loss import HeadLoss, TokenLoss
from shoestring.train.state import TrainState

HEARSAY_S = 15.0  # that one rank's word of a lost one is kept back, for Ray's word on how it ended


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

    def revive(self, lost: ShoestringError) -> None:
        """All ranks, and all once more where one of the new ones is lost before they are up."""
        self._packed = None  # it went with who had put it into the object store
        while True:
            self.members.start_again(lost)
            try:
                self._begin()
                return
            except WorkerLost as another:
                lost = another

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
        first = self._answers(calls)[0]
        self.step, self.most_tokens = first.step, first.most_tokens
        return first

    def _answers(self, calls: dict[Any, Member]) -> dict[int, Done]:
        """By rank, as they come: one that is gone keeps the others waiting. Raises WorkerLost."""
        members, deadline_s = self.members, self.members.workers.deadline_s
        # several ranks find out by themselves, and know better who was waited for
        patience = deadline_s if len(calls) == 1 else patience_s(deadline_s)
        answers: dict[int, Done] = {}
        missed = ""
        until = time.monotonic() + patience
        while calls:
            ready, _ = self.ray.wait(list(calls), timeout=max(0.0, until - time.monotonic()))
            if not ready and missed:
                raise WorkerLost(missed)
            if not ready:
                until = time.monotonic() + patience - self._silence(list(calls.values()), patience)
                continue
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
        return answers

    def _silence(self, waited_for: list[Member], patience: float) -> float:
        """Seconds since any of them got on with its work. Raises WorkerLost, where that is too long, of
        one that doesn't answer at all, or else of the one that has been silent longest."""
        looks = self.members.looks(waited_for)
        silent = [patience if look is None else look.silent_s for look in looks]
        if min(silent) < patience:
            return min(silent)
        worst = looks.index(None) if None in looks else silent.index(max(silent))
        raise self.members.stalled(waited_for[worst], silent[worst])

    def _renewed(self, done: Done) -> Any:
        """The copy here follows, and is checked. Raises WorkerLost where the rank that put the weights
        into the object store is gone, and they with it."""
        manifest, (buffer,) = done.manifest, done.buffer
        assert manifest is not None
        first = self.members.all[0]
        try:
            whole = self.members.result(first, buffer)
        except LostParcel as lost:
            raise self.members.died(first, lost) from None
        self.lm.network.take(unpacked(whole, manifest))
        if wrong := first_difference(manifest, entries_of(self.lm.network.public_tensors())):
            raise ShoestringError(f"the trainers' weights didn't come as they were sent: {wrong} differs")
        self._packed = manifest, buffer
        return done.result
