"""`--cluster ADDRESS|local --workers KEY=VALUE`: what was asked for, and the handles that come of it."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from shoestring.cluster.workers import Workers
from shoestring.errors import BadInput
from shoestring.jobs.handles import HERE, Places
from shoestring.jobs.recipe_units import Job
from shoestring.run import Stage
from shoestring.settings import build, parse_assignments


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


def main_on(cluster: Clustered | None, job: Job, name: str) -> Callable[[Any, Stage], dict[str, Any]]:
    """The job's main with handles of the cluster. Raises BadInput where it would take none."""
    if cluster is None:
        return job.main
    if not job.takes_handles:
        raise BadInput(
            f"--cluster: {name} works in this process alone; grpo, sample and eval go to a cluster"
        )

    def main(settings: Any, stage: Stage) -> dict[str, Any]:
        with places_of(cluster, Console(stderr=True)) as places, places.of(stage) as handles:
            return job.main(settings, stage, handles)

    return main


@contextmanager
def places_of(cluster: Clustered | None, console: Console | None) -> Iterator[Places]:
    if cluster is None:
        yield HERE
        return
    from shoestring.cluster.cluster import open_cluster

    def say(text: str) -> None:
        if console is not None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    with open_cluster(cluster.address, cluster.workers, say) as places:
        yield places
