import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from ray_runs import small_ray
from shoestring.cluster.look import Look


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A small Ray on this machine for all tests of a file, which are skipped without Ray."""
    pytest.importorskip("ray")
    with small_ray() as module:
        yield module


@dataclass(eq=False)
class FakeRef:
    """answer: what a `get` gives, or raises; from `at` on (time.monotonic)."""

    answer: Any = None
    at: float = 0.0


@dataclass
class After:
    """What a fake actor's method gives so many seconds later; never: float("inf")."""

    seconds: float
    answer: Any = None


class FakeActor:
    """It answers by the methods of `work`, which a test writes; `look` and `stack` at once, unless it is
    dumb."""

    def __init__(self, ray: "FakeRay", work: Any) -> None:
        self.ray, self.work = ray, work
        self.killed = self.dumb = False
        self.silent_s = 0.0  # that it says of itself

    def look(self) -> Look | After:
        seen = Look(4711, "nowhere", "n", "at work", 2**30, 2**31, self.silent_s)
        return After(float("inf")) if self.dumb else seen

    def stack(self) -> str | After:
        return After(float("inf")) if self.dumb else "a stack"

    def called(self, name: str, *given: Any) -> FakeRef:
        own = None if hasattr(self.work, name) else {"look": self.look, "stack": self.stack}.get(name)
        values = [one.answer if isinstance(one, FakeRef) else one for one in given]
        try:
            made = (own or getattr(self.work, name))(*values)
        except Exception as error:
            made = self.ray.exceptions.RayTaskError(error)
        if isinstance(made, After):
            return FakeRef(made.answer, time.monotonic() + made.seconds)
        return FakeRef(made)


class FakeHandle:
    def __init__(self, actor: FakeActor) -> None:
        self.fake = actor

    def __getattr__(self, name: str) -> Any:
        def remote(*given: Any) -> FakeRef:
            return self.fake.called(name, *given)

        return SimpleNamespace(remote=remote, options=lambda **_: SimpleNamespace(remote=remote))


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class ObjectLostError(RayError):
    pass


class RayActorError(RayError):
    pass


@dataclass
class FakeRay:
    """As much of Ray as handles of actors need, in this process. works: makes the work of the actor that is
    started next, by how many were started before."""

    works: Callable[[int], Any]
    actors: list[FakeActor] = field(default_factory=list)
    ObjectRef: type = FakeRef
    exceptions: Any = field(
        default_factory=lambda: SimpleNamespace(
            RayError=RayError,
            RayTaskError=RayTaskError,
            ObjectLostError=ObjectLostError,
            OwnerDiedError=type("OwnerDiedError", (ObjectLostError,), {}),
            RayActorError=RayActorError,
            GetTimeoutError=type("GetTimeoutError", (RayError,), {}),
            WorkerCrashedError=type("WorkerCrashedError", (RayError,), {}),
            NodeDiedError=type("NodeDiedError", (RayError,), {}),
            OutOfMemoryError=type("OutOfMemoryError", (RayError,), {}),
        )
    )

    @property
    def util(self) -> Any:
        placed = SimpleNamespace(wait=lambda _: True)
        return SimpleNamespace(
            placement_group=lambda *_, **__: placed,
            remove_placement_group=lambda _: None,
            scheduling_strategies=SimpleNamespace(PlacementGroupSchedulingStrategy=lambda *_, **__: None),
        )

    def remote(self, **_: Any) -> Any:
        def started(*_: Any) -> FakeHandle:
            self.actors.append(FakeActor(self, self.works(len(self.actors))))
            return FakeHandle(self.actors[-1])

        return lambda _cls: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=started))

    def put(self, value: Any) -> FakeRef:
        return FakeRef(value)

    def wait(self, refs: list[FakeRef], num_returns: int = 1, timeout: float = 1e9) -> Any:
        until = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            ready = [ref for ref in refs if ref.at <= now][:num_returns]
            if len(ready) == num_returns or now >= until:
                return ready, [ref for ref in refs if ref not in ready]
            time.sleep(0.005)

    def get(self, ref: FakeRef, timeout: float = 1e9) -> Any:
        if not self.wait([ref], timeout=timeout)[0]:
            raise self.exceptions.GetTimeoutError
        if isinstance(ref.answer, RayError):
            raise ref.answer
        return ref.answer

    def kill(self, actor: FakeHandle) -> None:
        actor.fake.killed = True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": "n", "Alive": True, "Resources": {"object_store_memory": 1e12}}]


@pytest.fixture
def fake_ray() -> type[FakeRay]:
    return FakeRay


@pytest.fixture
def after() -> type[After]:
    """For a fake actor's methods: an answer that comes later."""
    return After
