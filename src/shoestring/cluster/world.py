"""The processes that train one model: ranks, the groups they talk in, each with a deadline and a name."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroup, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.device_mesh import DeviceMesh

from shoestring.cluster.interface import reached_by_others
from shoestring.cluster.traffic import Traffic
from shoestring.cluster.watch import Watch
from shoestring.errors import BadInput, ShoestringError
from shoestring.ops.memory import ran_out

T = TypeVar("T")


class RankLost(ShoestringError):
    """Another rank is gone, or late. Nothing more can be done together."""


DEADLINE_S = 600.0
NO_DEADLINE = timedelta(days=365)
LOST = ("timed out", "timeout", "connection", "peer", "nccl", "broken pipe", "reset")  # what torch says then


@dataclass
class World:
    """One rank's view. `whole` is a mesh of all ranks, along which dense weights are shared out; `replicas`
    and `experts` are the two sides of the grid of ranks that experts are laid on: neighbours (ranks 0 to
    E - 1, E to 2 E - 1, ...) share a layer's experts between them, and each such group is a replica.
    `orders` is a group without a deadline, in which the others wait for what rank 0 wants of them.
    `torn`: this rank left common work in the middle, where the others still wait for it."""

    rank: int
    size: int
    expert: int  # ranks that share a layer's experts
    device: torch.device
    deadline_s: float
    watch: Watch
    whole: DeviceMesh
    replicas: DeviceMesh
    experts: DeviceMesh
    orders: ProcessGroup
    traffic: Traffic = field(default_factory=Traffic)
    torn: bool = False

    @property
    def expert_rank(self) -> int:
        return self.rank % self.expert

    @property
    def replica_rank(self) -> int:
        return self.rank // self.expert

    @property
    def num_replicas(self) -> int:
        return self.size // self.expert

    @property
    def everyone(self) -> ProcessGroup:
        return self.whole.get_group()

    @property
    def expert_group(self) -> ProcessGroup:
        return self.experts.get_group()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A piece of work that all ranks take part in. A collective that ends in an error ends it with one
        line that names the rank and its phase (RankLost)."""
        with self.watch.phase(name):
            try:
                yield
            except RuntimeError as error:
                if ran_out(error) or not lost(error):
                    raise
                raise RankLost(self.watch.explain(error)) from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """A piece of work that rank 0 ordered. ShoestringErrors are those of all ranks; with any other, as
        with Ctrl-C, this rank alone leaves it."""
        try:
            yield
        except ShoestringError:
            raise
        except BaseException:
            self.torn = True
            raise

    def sum(self, values: Tensor) -> Tensor:
        """Over all ranks, in place."""
        dist.all_reduce(values, group=self.everyone)
        return values

    def least(self, values: Tensor) -> Tensor:
        """The smallest over all ranks, in place."""
        dist.all_reduce(values, dist.ReduceOp.MIN, group=self.everyone)
        return values

    def meet(self) -> None:
        """Nobody goes on before all are here."""
        dist.all_reduce(torch.zeros((), device=self.device), group=self.everyone)

    def from_first(self, value: T) -> T:
        """Rank 0's value on all ranks."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.everyone, device=self.device)
        return box[0]

    def all_well(self, what: str, work: Callable[[], None]) -> None:
        """Do it on every rank; where it fails on one of them all raise ShoestringError, in the same words.
        Without this the others would wait for it until the deadline."""
        said = ""
        with self.phase(what):
            try:
                work()
            except OSError as error:
                said = f"rank {self.rank} could not {what}: {error.strerror or error}"
            heard: list[str] = [""] * self.size
            dist.all_gather_object(heard, said, group=self.everyone)
        if faults := [text for text in heard if text]:
            raise ShoestringError("; ".join(faults))

    def close(self) -> None:
        """Called by all ranks: the watches end before the process that holds their store does."""
        self.watch.close()
        self.meet()
        dist.destroy_process_group()


def lost(error: RuntimeError) -> bool:
    """Whether a collective failed for want of another rank, and not for a fault of its own."""
    said = str(error).lower()
    return any(word in said for word in LOST)


def meet_at(
    rank: int,
    size: int,
    address: str,
    port: int,
    deadline_s: float = DEADLINE_S,
    door: socket.socket | None = None,
) -> Store:
    """The store through which ranks find each other; it lies in rank 0, which listens on the port, or takes
    over its `door`, which listens there already. Raises ShoestringError."""
    deadline = timedelta(seconds=deadline_s)
    own = None if door is None else door.detach()
    try:
        return TCPStore(
            address, port, size, rank == 0, deadline, wait_for_workers=False, master_listen_fd=own
        )
    except (RuntimeError, ValueError) as error:
        raise ShoestringError(
            f"rank {rank} found nobody at {address}:{port}: {str(error).splitlines()[0]}"
        ) from None


def join(
    rank: int,
    size: int,
    store: Store,
    expert: int = 1,
    device: str = "cpu",
    deadline_s: float = DEADLINE_S,
    folder: Path = Path("ranks"),
    meet: str = "localhost",
) -> World:
    """Come together with the other ranks; every rank calls it with its own number. folder: for the ranks'
    stacks, should one be lost. meet: the host where the store is, in whose direction the others are. Raises
    BadInput, one line, where the numbers don't fit, ShoestringError where the others don't come."""
    if size % expert:
        fitting = [n for n in range(1, size + 1) if size % n == 0]
        raise BadInput(
            f"expert {expert}: the {size} ranks can't be parted into groups of {expert}; write one of "
            f"{', '.join(map(str, fitting))}"
        )
    place = torch.device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank % torch.cuda.device_count())))
        torch.cuda.set_device(place)
    spare: Store = store.clone()  # type: ignore[attr-defined]  # a connection of the watch's own
    watch = Watch(rank, size, PrefixStore("watch", spare), deadline_s, folder, place)
    try:
        with reached_by_others(rank, size, PrefixStore("hosts", store), meet):
            return _open(rank, size, store, expert, place, deadline_s, watch)
    except RuntimeError as error:
        watch.close()
        raise ShoestringError(f"rank {rank} waited in vain for the {size} ranks: {error}") from None


def _open(
    rank: int, size: int, store: Store, expert: int, device: torch.device, deadline_s: float, watch: Watch
) -> World:
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    deadline = timedelta(seconds=deadline_s)
    dist.init_process_group(
        backend, store=PrefixStore("groups", store), rank=rank, world_size=size, timeout=deadline
    )
    grid = torch.arange(size).view(-1, expert)
    # made one by one, since a mesh gives its own groups torch's half hour
    columns, _ = dist.new_subgroups_by_enumeration(
        grid.t().tolist(), timeout=deadline, backend=backend, group_desc="replicas"
    )
    rows, _ = dist.new_subgroups_by_enumeration(
        grid.tolist(), timeout=deadline, backend=backend, group_desc="experts"
    )
    orders = dist.new_group(timeout=NO_DEADLINE, backend="gloo", group_desc="orders")
    kind, everyone = device.type, dist.group.WORLD
    assert everyone is not None
    assert isinstance(columns, ProcessGroup)
    assert isinstance(rows, ProcessGroup)
    assert isinstance(orders, ProcessGroup)
    return World(
        rank,
        size,
        expert,
        device,
        deadline_s,
        watch,
        DeviceMesh.from_group(everyone, kind, mesh_dim_names=("rank",)),
        DeviceMesh.from_group(columns, kind, mesh_dim_names=("replica",)),
        DeviceMesh.from_group(rows, kind, mesh_dim_names=("expert",)),
        orders,
    )
