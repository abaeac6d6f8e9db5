"""Engines in actors behind one Generator: prompts are shared out, completions come back as they are made.

A sample's random numbers are keyed by its request, so it doesn't matter which of them makes it: what a lost
one had begun is asked of another and comes out as it would have. Each of them says with every answer whose
weights it has; one that hasn't the newest is handed them again before it makes a token."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from shoestring.cluster.generator_actor import Asked, Worked
from shoestring.cluster.handover import Carrier, HandOver
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.members import START_S, Member, Members
from shoestring.engine.refusals import refuse_prompt
from shoestring.engine.request import Completion, SamplingParams
from shoestring.errors import ShoestringError
from shoestring.models.config import ModelConfig

POLL_S = 0.2  # an actor makes tokens for so long before it says what is done


class Generators:
    """max_batch: samples that one of them runs at once; it is given twice as many, so that none of its places
    is empty, and the rest waits here for whoever is done first. One that is alone is given all at once: it
    then works in the same order as an engine in this process, and makes the same bits."""

    def __init__(self, members: Members, config: ModelConfig, max_batch: int, carrier: Carrier) -> None:
        self.members, self.config, self.hand_over = members, config, HandOver(members, carrier)
        self.room = 2 * max_batch
        self.weights_version = 0
        self._next = 0
        self._asked: dict[int, Asked] = {}  # that the caller hasn't got back yet
        self._waiting: deque[int] = deque()
        self._given: dict[int, Member] = {}
        self._sent: dict[int, list[int]] = {}  # by id(member): what is new in its call under way
        self._calls: dict[Any, tuple[Member, float]] = {}  # under way, and since when
        self._starting: dict[Any, tuple[Member, float]] = {}  # in a lost one's place, not up yet
        self._finished: deque[tuple[int, list[Completion]]] = deque()

    @classmethod
    def start(
        cls,
        members: Members,
        config: ModelConfig,
        max_batch: int,
        carrier: Carrier,
        weights: Iterable[tuple[str, Tensor]],
    ) -> "Generators":
        """With weights of version 0 in each."""
        members.start()
        made = cls(members, config, max_batch, carrier)
        made._each(made.members.greet_one)
        made.load_weights(weights, version=0)
        return made

    # -- the contract

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        refuse_prompt(prompt, params, self.config)
        self._next += 1
        self._asked[self._next] = Asked(self._next, list(prompt), params, key)
        self._waiting.append(self._next)
        return self._next

    def completed(self) -> Iterator[tuple[int, list[Completion]]]:
        """Raises ShoestringError where no actor is left, or an engine refuses a request."""
        while self._finished or self._asked:
            while self._finished:
                number, made = self._finished.popleft()
                if self._asked.pop(number, None) is not None:
                    yield number, made
            if self._asked:
                self._call_all()
                self._hear()

    def abort(self, request: int) -> None:
        if self._asked.pop(request, None) is None:
            return
        member = self._given.pop(request, None)
        if request in self._waiting:
            self._waiting.remove(request)
        elif member is not None:
            member.actor.abort.remote([request])

    def generate(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams, keys: Sequence[str] | None = None
    ) -> list[list[Completion]]:
        names = keys if keys is not None else [str(i) for i in range(len(prompts))]
        numbers: list[int] = []
        done: dict[int, list[Completion]] = {}
        others: list[tuple[int, list[Completion]]] = []
        try:
            for prompt, key in zip(prompts, names, strict=True):
                numbers.append(self.submit(prompt, params, key))
            while len(done) < len(numbers):
                while self._finished:
                    number, made = self._finished.popleft()
                    if number not in numbers:
                        others.append((number, made))
                    elif self._asked.pop(number, None) is not None:
                        done[number] = made
                if len(done) < len(numbers):
                    self._call_all()
                    self._hear()
            return [done[number] for number in numbers]
        finally:
            self._finished.extend(others)
            for number in numbers:
                self.abort(number)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Every actor has them, bit for bit, when this returns. Raises ShoestringError where one can't."""
        self.weights_version = version
        sent = self.hand_over.begin(weights, version)
        self._each(lambda member: self.hand_over.give(member, sent.get(id(member))))

    def close(self) -> None:
        self.members.close()
        self.hand_over.carrier.close()

    # -- actors

    def _each(self, work: Callable[[Member], None]) -> None:
        """`work` with every actor that is up; those lost meanwhile are replaced."""
        starting = [member for member, _ in self._starting.values()]
        for member in [m for m in self.members.all if m not in starting]:
            try:
                work(member)
            except WorkerLost as lost:
                self._replace(member, lost)
        while len(self._starting) == len(self.members.all):  # nobody is left to go on with
            self._hear()

    def _replace(self, member: Member, lost: WorkerLost) -> None:
        """What it had begun waits again, in front. Another is started in its place; until it is up the others
        go on. Raises ShoestringError where that was done often enough."""
        for ref, (other, _) in list(self._calls.items()):
            if other is member:
                del self._calls[ref]
        begun = sorted(number for number, other in self._given.items() if other is member)
        self._waiting.extendleft(reversed(begun))
        for number in begun:
            del self._given[number]
        fresh = self.members.replace(member, lost)
        self._starting[self.members.asked_to_look(fresh)] = fresh, time.monotonic()

    def _started(self, ref: Any) -> None:
        """One that was started in the place of another is up, or never will be."""
        member, _ = self._starting.pop(ref)
        try:
            member.saw(self.members.result(member, ref))
            if self.hand_over.parcel is not None:
                self.hand_over.give(member)
        except WorkerLost as lost:
            self._without(member, lost)

    def _without(self, member: Member, lost: WorkerLost) -> None:
        """Raises ShoestringError where it was the last."""
        self.members.drop(member)
        if not self.members.all:
            raise ShoestringError(f"{lost}; no generator is left") from None
        self.members.say(f"{lost}; {len(self.members.all)} of {self.members.count} go on without it")

    # -- work

    def _call_all(self) -> None:
        """Share out what waits, and set everybody to work who isn't."""
        busy = {id(member) for member, _ in [*self._calls.values(), *self._starting.values()]}
        free = [member for member in self.members.all if id(member) not in busy]
        loads = {id(member): 0 for member in self.members.all}
        for number, member in self._given.items():
            loads[id(member)] += self._asked[number].params.n
        new: dict[int, list[Asked]] = {id(member): [] for member in free}
        while self._waiting and free:
            member = min(free, key=lambda m: loads[id(m)])
            if loads[id(member)] >= self.room and len(self.members.all) > 1:
                break
            number = self._waiting.popleft()
            if number not in self._asked:
                continue
            self._given[number] = member
            loads[id(member)] += self._asked[number].params.n
            new[id(member)].append(self._asked[number])
        for member in free:
            if loads[id(member)]:
                self._call(member, new[id(member)])

    def _call(self, member: Member, asked: list[Asked]) -> None:
        member.phase = f"sampling with the weights of version {self.weights_version}"
        self._sent[id(member)] = [one.number for one in asked]
        ref = member.actor.work.remote(self.weights_version, asked, POLL_S)
        self._calls[ref] = member, time.monotonic()

    def _hear(self) -> None:
        """Wait for the next answer, and look after those that are late."""
        ready, _ = self.members.ray.wait([*self._calls, *self._starting], timeout=1.0)
        for ref in ready:
            if ref in self._starting:
                self._started(ref)
                continue
            member, _ = self._calls.pop(ref)
            try:
                self._heard(member, self.members.result(member, ref))
            except WorkerLost as lost:
                self._replace(member, lost)
        limit = self.members.workers.deadline_s
        for member, since in list(self._calls.values()):
            if time.monotonic() - since > limit:
                self._replace(member, self.members.stalled(member, limit))
        for ref, (member, since) in list(self._starting.items()):
            if time.monotonic() - since > START_S:
                del self._starting[ref]
                self._without(member, self.members.stalled(member, START_S))

    def _heard(self, member: Member, worked: Worked) -> None:
        member.saw(worked.look)
        if worked.stale:  # a hand-over was lost
            self.hand_over.again += 1
            self.members.say(
                f"{member.title} has the weights of version {worked.version} where {self.weights_version} "
                "was handed over: handed over again"
            )
            for number in self._sent[id(member)]:
                if self._given.pop(number, None) is not None:
                    self._waiting.appendleft(number)
            self.hand_over.give(member)
            return
        for number, error in worked.refused:
            if self._asked.pop(number, None) is not None:
                self._given.pop(number, None)
                raise error
        for number, made in worked.done:
            if self._given.pop(number, None) is not None:
                self._finished.append((number, made))
