"""`--cluster ADDRESS|local --workers KEY=VALUE`, or `torchrun` and `--ranks KEY=VALUE`: what was asked for,
and the handles that come of it."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from shoestring.cluster.workers import Workers
from shoestring.errors import BadInput
from shoestring.jobs.handles import HERE, Handles, Here, Places
from shoestring.jobs.recipe_units import Job
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.settings import build, parse_assignments
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings

if TYPE_CHECKING:
    from shoestring.cluster.torchrun import Leading


@dataclass(frozen=True)
class Clustered:
    """given: of the workers, as it was written."""

    address: str
    workers: Workers
    given: Mapping[str, Any]

    @property
    def words(self) -> str:
        """For the command that goes on."""
        said = [word for key, value in self.given.items() for word in ("--workers", f"{key}={value}")]
        return " " + shlex.join(["--cluster", self.address, *said])


@dataclass(frozen=True)
class Ranked:
    """Started by torchrun, as rank 0. given: of the ranks, as it was written."""

    given: tuple[str, ...]

    @property
    def words(self) -> str:
        said = [word for one in self.given for word in ("--ranks", one)]
        return (" " + shlex.join(said) if said else "") + " (by the same torchrun)"


def read_ranks(assignments: Sequence[str], address: str | None) -> Ranked | None:
    """None where torchrun didn't start this process. Raises BadInput."""
    if not started_by_torchrun(os.environ):
        if assignments:
            raise BadInput(
                f"--ranks {assignments[0]} is for torchrun: torchrun --nproc-per-node N -m shoestring ..."
            )
        return None
    if address:
        raise BadInput("--cluster: Ray starts its own ranks; leave out torchrun or --cluster")
    return Ranked(tuple(assignments))


def read_cluster(address: str | None, assignments: Sequence[str]) -> Clustered | None:
    """None where no cluster was asked for. Raises BadInput, and where Ray is missing too: before any work."""
    if not address:
        if assignments:
            raise BadInput(f"--workers {assignments[0]} is for a cluster: add --cluster local, or an address")
        return None
    from shoestring.cluster.ray_start import the_ray

    given = parse_assignments(list(assignments))
    workers = build(Workers, given, "--workers")
    the_ray()
    return Clustered(address, workers, given)


def started_by_torchrun(environment: Mapping[str, str]) -> bool:
    """Asked without torch: every verb does."""
    return "TORCHELASTIC_RUN_ID" in environment and environment.get("WORLD_SIZE", "1") != "1"


def main_on(
    cluster: Clustered | Ranked | None, job: Job, name: str
) -> Callable[[Any, Stage], dict[str, Any]]:
    """The job's main with handles of the cluster. Raises BadInput where it would take none."""
    if cluster is None:
        return job.main
    if not job.takes_handles:
        raise BadInput(f"{name} works in one process: leave out --cluster, or torchrun")

    def main(settings: Any, stage: Stage) -> dict[str, Any]:
        with places_of(cluster, Console(stderr=True)) as places, places.of(stage) as handles:
            return job.main(settings, stage, handles)

    return main


@contextmanager
def places_of(cluster: Clustered | Ranked | None, console: Console | None) -> Iterator[Places]:
    if cluster is None:
        yield HERE
        return
    if isinstance(cluster, Ranked):
        with led_places(cluster) as places:
            yield places
        return
    from shoestring.cluster.cluster import open_cluster

    def say(text: str) -> None:
        if console is not None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    with open_cluster(cluster.address, cluster.workers, say) as places:
        yield places


@contextmanager
def led_places(ranked: Ranked) -> Iterator[Places]:
    """All in this process but the learner, which is all of torchrun's ranks."""
    from shoestring.cluster.torchrun import leading, place_here

    place = place_here()
    assert place is not None
    assert place.rank == 0, "the others follow"
    with leading(place, list(ranked.given)) as door:
        yield Led(door)


class Led(Here):
    def __init__(self, door: "Leading") -> None:
        self.door, self.folder = door, Path()

    def learner(
        self,
        lm: LanguageModel,
        optim: OptimSettings,
        total_steps: int,
        objectives: Objectives,
        adapters: Adapters | None,
    ) -> Learner:
        return self.door.learner(lm, optim, total_steps, objectives, adapters, self.folder / "ranks")

    @contextmanager
    def of(self, stage: Stage) -> Iterator[Handles]:
        self.folder = stage.folder
        yield self
