"""What is said of one that doesn't answer. Ray itself is played: tests with it are in the other files."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoestring.cluster.look import Look
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.members import Member, Members
from shoestring.cluster.workers import Workers


class Silent:
    """A cluster in which no call is ever answered."""

    exceptions = SimpleNamespace(OutOfMemoryError=MemoryError)

    def __init__(self, alive: dict[str, bool]) -> None:
        self.alive, self.killed = alive, list[Any]()

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": up} for name, up in self.alive.items()]

    def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return [], refs

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


def member_on(node: str) -> Member:
    look = Look(4711, "elsewhere", node, "sampling", 2**30, 2**31)
    return Member("generator 2 of 2", object(), 1, last=look, phase="sampling")


def members_in(ray: Silent, folder: Path, deadline_s: float = 60.0) -> Members:
    workers = Workers(deadline_s=deadline_s)
    return Members(ray, "generator", 2, workers, 1.0, 0.0, (object, ()), print, folder)


def test_one_whose_machine_left_is_lost_before_the_deadline(tmp_path):
    members = members_in(Silent({"here": True, "there": False}), tmp_path)
    here, there, unseen = member_on("here"), member_on("there"), Member("generator 1 of 2", object(), 0)
    assert members.left([here, there, unseen]) == [there]
    with pytest.raises(WorkerLost, match="its machine left the cluster; it last held 1"):
        members.result(there, "call")


def test_one_whose_machine_is_there_has_until_the_deadline(tmp_path):
    ray = Silent({"here": True})
    here = member_on("here")
    with pytest.raises(WorkerLost, match="said nothing for"):
        members_in(ray, tmp_path, deadline_s=0.01).result(here, "call")
    assert ray.killed == [here.actor]
