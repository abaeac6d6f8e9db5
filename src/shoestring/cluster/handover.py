"""How weights get from who trains to who generates: through Ray's object store, or a disk that all see."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from shoestring.cluster.generator_actor import Took
from shoestring.cluster.members import Member, Members
from shoestring.cluster.parcel import LostParcel, Manifest, Parcel, Shelf, packed
from shoestring.cluster.workers import Workers
from shoestring.errors import BadInput, ShoestringError

STORE_SHARE = 0.4  # of the smallest host's object store, for weights: two versions lie there at times
TRIES = 3  # times that weights are handed to one actor


class Weights(Iterator[tuple[str, Tensor]]):
    """Named tensors, as any; and how they lie packed already where the one who trained them put them."""

    def __init__(
        self, tensors: Callable[[], Iterator[tuple[str, Tensor]]], manifest: Manifest, buffer: Any
    ) -> None:
        self.tensors, self.manifest, self.buffer = tensors, manifest, buffer
        self._here = tensors()

    def __next__(self) -> tuple[str, Tensor]:
        return next(self._here)


class Carrier:
    """Chooses the way by size."""

    def __init__(self, ray: Any, workers: Workers) -> None:
        self.ray, self.workers = ray, workers
        self._last: tuple[Any, Manifest, Iterable[tuple[str, Tensor]]] | None = None
        self._shelf = None if workers.folder is None else Shelf(workers.folder.absolute())

    def close(self) -> None:
        """Called once no actor reads any more."""
        if self._shelf is not None:
            self._shelf.close()

    def parcel(self, weights: Iterable[tuple[str, Tensor]], version: int) -> Parcel:
        """Raises BadInput where no way has room."""
        if isinstance(weights, Weights):
            buffer, manifest = weights.buffer, weights.manifest
        else:
            buffer, manifest = packed(weights)
        way = self.way(manifest.nbytes)
        self._last = buffer, manifest, weights
        if way == "disk":
            return Parcel(manifest, version, self._written(version))
        return Parcel(manifest, version, buffer if self._is_reference(buffer) else self.ray.put(buffer))

    def afresh(self, parcel: Parcel) -> Parcel:
        """The same weights once more, from what lies here."""
        if isinstance(parcel.carried, Path):
            return Parcel(parcel.manifest, parcel.version, self._written(parcel.version))
        return Parcel(parcel.manifest, parcel.version, self.ray.put(self._buffer().copy()))

    def way(self, nbytes: int) -> str:
        wanted, folder = self.workers.hand_over, self.workers.folder
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        room = min(node["Resources"].get("object_store_memory", 0.0) for node in alive) * STORE_SHARE
        fits = nbytes <= room
        if fits and wanted != "disk":
            return "store"
        if folder is not None and wanted != "store":
            return "disk"
        if wanted == "disk":
            raise BadInput(
                "weights handed over by disk need a folder that every host sees: --workers folder=DIR"
            )
        raise BadInput(
            f"weights of {nbytes / 2**30:.2f} GiB are more than {STORE_SHARE:.0%} of the smallest object "
            "store: give Ray a larger one (store_gib with --cluster local, else ray start "
            "--object-store-memory), or hand them over by disk, in a folder that every host sees: "
            "--workers hand_over=auto folder=DIR"
        )

    def _written(self, version: int) -> Path:
        assert self._last is not None and self._shelf is not None
        return self._shelf.write(self._buffer(), self._last[1], version)

    def _buffer(self) -> np.ndarray:
        assert self._last is not None
        buffer, _, weights = self._last
        if not self._is_reference(buffer):
            return buffer
        try:
            return self.ray.get(buffer)
        except self.ray.exceptions.ObjectLostError:  # with the process that had put it there
            assert isinstance(weights, Weights)
            return packed(weights.tensors())[0]

    def _is_reference(self, buffer: Any) -> bool:
        return isinstance(buffer, self.ray.ObjectRef)


class HandOver:
    """The newest weights to every actor, and once more to one that didn't take them."""

    def __init__(self, members: Members, carrier: Carrier) -> None:
        self.members, self.carrier = members, carrier
        self.parcel: Parcel | None = None
        self.again = 0  # times that they had to be handed over once more

    def begin(self, weights: Iterable[tuple[str, Tensor]], version: int) -> dict[int, Any]:
        """By id(member), the calls under way, which `give` waits for: all actors take them at once."""
        self.parcel = parcel = self.carrier.parcel(weights, version)
        return {id(member): self._send(member, parcel) for member in self.members.all}

    def give(self, member: Member, sent: Any = None) -> None:
        """sent: the call, where it was made already. Raises WorkerLost where the actor is gone,
        ShoestringError where it can't take them."""
        parcel, wrong = self.parcel, ""
        assert parcel is not None
        for again in range(TRIES):
            sent = sent or self._send(member, parcel)
            try:
                took: Took = self.members.result(member, sent)
                member.saw(took.look)
                wrong = took.wrong
            except LostParcel as lost:
                wrong = str(lost)
            if not wrong:
                return
            sent = None
            self.again += 1
            told = f"{member.title} didn't take weights of version {parcel.version} by {parcel.way}: {wrong}"
            if again + 1 < TRIES:
                self.members.say(f"{told}; handed over again")
                self.parcel = parcel = self.carrier.afresh(parcel)  # it may be spoilt where it lies
        raise ShoestringError(f"{told}, {TRIES} times")

    def _send(self, member: Member, parcel: Parcel) -> Any:
        member.phase = f"taking the weights of version {parcel.version}"
        return member.actor.take.remote(parcel, parcel.carried)
