"""`torchrun --nproc-per-node 4 -m shoestring run RECIPE`: every rank is this program; rank 0 does what the
command says, the others train at its word."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from torch.distributed import PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from shoestring.cluster.leading import End, LeadingLearner, follow, give
from shoestring.cluster.parallelize import ParallelSettings, check_fits
from shoestring.cluster.world import NO_DEADLINE, RankLost, World, join
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.settings import build, parse_assignments
from shoestring.train.lora import Adapters
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings

KEY, NOBODY = "ranks", "none"
GRACE_S = 10.0  # for rank 0 to say what happened, before torchrun ends everybody for one that failed


@dataclass(frozen=True)
class Place:
    """What torchrun told this process."""

    rank: int
    size: int
    address: str
    port: int
    hosts: bool  # whether rank 0 is to hold the store; else torchrun itself does
    attempt: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Place | None":
        """None where it didn't start this process, or started it alone."""
        if "TORCHELASTIC_RUN_ID" not in environment or environment.get("WORLD_SIZE", "1") == "1":
            return None
        rank = int(environment["RANK"])
        return cls(
            rank,
            int(environment["WORLD_SIZE"]),
            environment["MASTER_ADDR"],
            int(environment["MASTER_PORT"]),
            rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
            environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
        )

    def store(self) -> Store:
        store = TCPStore(self.address, self.port, self.size, self.hosts, timedelta(seconds=60), False)
        return PrefixStore(f"attempt {self.attempt}", store)

    def join(self, store: Store, parallel: ParallelSettings, device: str, folder: Path) -> World:
        own = parallel.expert, device, parallel.deadline_s, folder
        return join(self.rank, self.size, store, *own, meet=self.address)


class Leading:
    """Rank 0's door to the others, for as many learners, one after the other, as its command needs."""

    def __init__(self, place: Place, store: Store, parallel: ParallelSettings) -> None:
        self.place, self.store, self.parallel = place, store, parallel
        self.world: World | None = None

    def learner(
        self,
        lm: LanguageModel,
        optim: OptimSettings,
        total_steps: int,
        objectives: Objectives | None = None,
        adapters: Adapters | None = None,
        folder: Path = Path("ranks"),
    ) -> LeadingLearner:
        """folder: for the ranks' stacks, should one be lost. Raises BadInput where model and ranks don't
        fit."""
        check_fits(lm.config, self.place.size, self.parallel)
        if self.world is None:
            device = lm.device.type
            told = f"{device} {folder.absolute()}\n{self.parallel.model_dump_json()}"
            self.store.set(KEY, told)
            self.world = self.place.join(self.store, self.parallel, device, folder.absolute())
        return LeadingLearner(lm, self.world, self.parallel, optim, total_steps, objectives, adapters)

    @property
    def torn(self) -> bool:
        """Whether rank 0 left the others in the middle of common work."""
        return self.world is not None and self.world.torn

    def close(self) -> None:
        """The others go home."""
        if self.world is None:
            self.store.set(KEY, NOBODY)
            return
        give(self.world, End())
        self.world.close()


@contextmanager
def leading(place: Place, assignments: list[str]) -> Iterator[Leading]:
    """Of rank 0. assignments: KEY=VALUE of ParallelSettings. Raises BadInput."""
    store = place.store()
    try:
        parallel = build(ParallelSettings, parse_assignments(assignments), "--ranks")
    except BadInput:
        store.set(KEY, NOBODY)
        raise
    door = Leading(place, store, parallel)
    try:
        yield door
    except RankLost:
        raise  # the others find out as this process ends
    except BaseException:
        if not door.torn:  # else they can't be told: they too find out as this process ends
            _send_home(door)
        raise
    door.close()


def _send_home(door: Leading) -> None:
    """Where something went wrong already, which is to be heard of whatever else does."""
    try:
        door.close()
    except (ShoestringError, RuntimeError) as error:
        print(f"the other ranks: {' '.join(str(error).split())}", file=sys.stderr, flush=True)


def follow_torchrun(place: Place) -> int:
    """Any other rank, to its end -> its exit code. Ctrl-C and SIGTERM are rank 0's: it saves first, and needs
    the others for that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    store = place.store()
    store.wait([KEY], NO_DEADLINE)
    told = store.get(KEY).decode()
    if told == NOBODY:
        return 0
    where, settings = told.split("\n", 1)
    device, folder = where.split(" ", 1)
    try:
        world = place.join(store, ParallelSettings.model_validate_json(settings), device, Path(folder))
        follow(world)
        world.close()
    except (ShoestringError, RuntimeError) as error:
        print(f"rank {place.rank}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        time.sleep(GRACE_S)
        return 1
    return 0


def place_here() -> Place | None:
    return Place.of(os.environ)


def dismiss(place: Place) -> None:
    """Of rank 0 at its end, whatever its command was: where nobody was asked to train the others go home."""
    if not place.hosts:
        place.store().set(KEY, NOBODY)
