"""A small Ray on this machine, and stages that run on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shoestring.cluster.cluster import Cluster, ClusterHandles, open_cluster
from shoestring.cluster.workers import Workers
from shoestring.run import Stage

DEADLINE_S = 60.0


def workers(**given: Any) -> Workers:
    return Workers(**{"deadline_s": DEADLINE_S, "cpus": 0.1, "store_gib": 0.2} | given)


@contextmanager
def handles_in(ray: Any, stage_folder: Path, **given: Any) -> Iterator[ClusterHandles]:
    with Stage(stage_folder, "stage") as stage, Cluster(ray, workers(**given)).of(stage) as handles:
        yield handles


@contextmanager
def small_ray() -> Iterator[Any]:
    with open_cluster("local", workers(), lambda _: None) as cluster:
        yield cluster.ray
