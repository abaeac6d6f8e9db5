"""A generator in a process of its own: an engine, what it is asked, and the weights that it was handed."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from shoestring.cluster.look import Look, Seen
from shoestring.cluster.parcel import LostParcel, Parcel, entries_of, first_difference, read, unpacked
from shoestring.cluster.skeleton import Skeleton
from shoestring.engine.engine import Engine
from shoestring.engine.request import Completion, SamplingParams
from shoestring.errors import BadInput, ShoestringError

NO_WEIGHTS = -1  # version of an engine that was handed none yet


@dataclass(frozen=True)
class Asked:
    """A request under the number that its caller knows it by."""

    number: int
    prompt: list[int]
    params: SamplingParams
    key: str


@dataclass(frozen=True)
class Worked:
    """What came of a call: completions, and what the engine refused, by the caller's number. stale: nothing
    was done, for the weights there, of `version`, are not those that were asked for."""

    done: list[tuple[int, list[Completion]]]
    refused: list[tuple[int, ShoestringError]]
    version: int
    stale: bool
    look: Look


@dataclass(frozen=True)
class Took:
    """wrong: "", or which tensor the engine doesn't hold as it was sent, or why none came."""

    wrong: str
    seconds: float
    look: Look


class Steps(Protocol):
    """What is asked of an engine here: of ours, or of one that looks like it."""

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int: ...

    def step(self) -> None: ...

    def take_finished(self) -> list[tuple[int, list[Completion]]]: ...

    def abort(self, request: int) -> None: ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None: ...

    @property
    def idle(self) -> bool: ...


@dataclass(frozen=True)
class OwnEngine:
    """How our engine is made where it is to run, and what it holds."""

    skeleton: Skeleton
    device: str
    max_batch: int
    cache_gib: float | None

    def make(self) -> Engine:
        return Engine(self.skeleton.model(self.device), max_batch=self.max_batch, cache_gib=self.cache_gib)

    def holds(self, engine: Any) -> Iterable[tuple[str, Tensor]] | None:
        return engine.lm.network.public_tensors()


class Makes(Protocol):
    def make(self) -> Steps: ...

    def holds(self, engine: Any) -> Iterable[tuple[str, Tensor]] | None:
        """The weights in it by public name, to be compared with those sent; None where it keeps them in a
        form of its own."""
        ...


class GeneratorActor(Seen):
    """Everything is called in turn; `look` and `stack` beside it."""

    def __init__(self, makes: Makes) -> None:
        super().__init__()
        self._makes = makes
        self._refused: BadInput | None = None
        try:
            self._engine = makes.make()
        except BadInput as refused:  # an actor that fails to start is lost, and would be started again
            self._refused = refused
        self._version = NO_WEIGHTS
        self._numbers: dict[int, int] = {}  # the engine's number of a request -> the caller's
        self._at("waiting for work")

    def look(self) -> Look:
        """Raises the BadInput with which the engine refused to be made, wherever it was to run."""
        if self._refused is not None:
            raise self._refused
        return super().look()

    def take(self, parcel: Parcel, buffer: Any) -> Took:
        """New weights. buffer: what `parcel.carried` refers to, which Ray fetched on the way here, or its
        file."""
        began = time.perf_counter()
        self._at(f"taking the weights of version {parcel.version}")
        try:
            weights = read(buffer) if isinstance(buffer, Path) else unpacked(buffer, parcel.manifest)
            sent = list(weights)
            held = None
            wrong = first_difference(parcel.manifest, entries_of(sent))
            if not wrong:
                self._engine.load_weights(sent, parcel.version)
                held = self._makes.holds(self._engine)
            if held is not None:
                wrong = first_difference(parcel.manifest, entries_of(held))
        except LostParcel as lost:
            wrong = str(lost)
        self._version = NO_WEIGHTS if wrong else parcel.version
        seconds = time.perf_counter() - began
        self._at("waiting for work")
        return Took(wrong, seconds, self.look())

    def work(self, version: int, asked: Sequence[Asked], seconds: float) -> Worked:
        """Take requests and make tokens until `seconds` have passed or nothing is left to make."""
        if version != self._version:
            return Worked([], [], self._version, True, self.look())
        self._at(f"sampling with the weights of version {version}")
        refused: list[tuple[int, ShoestringError]] = []
        for one in asked:
            try:
                self._numbers[self._engine.submit(one.prompt, one.params, one.key)] = one.number
            except ShoestringError as error:
                refused.append((one.number, error))
        until = time.monotonic() + seconds
        while not self._engine.idle and time.monotonic() < until:
            self._engine.step()
        done = [(self._numbers.pop(own), made) for own, made in self._engine.take_finished()]
        self._at("waiting for work")
        return Worked(done, refused, self._version, False, self.look())

    def abort(self, numbers: Sequence[int]) -> None:
        for own, number in list(self._numbers.items()):
            if number in numbers:
                self._engine.abort(own)
                del self._numbers[own]
