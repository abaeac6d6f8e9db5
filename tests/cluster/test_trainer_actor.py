"""Where the ranks meet: rank 0's port is held from the moment in which its address is told."""

import socket
import sys
import threading
from types import SimpleNamespace

import pytest

from ranks_work import OPTIM
from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.trainer_actor import LearnerSettings, TrainerActor
from shoestring.cluster.world import meet_at
from shoestring.train.objectives import Objectives
from tiny import tiny_lm


@pytest.fixture
def actor(monkeypatch) -> TrainerActor:
    monkeypatch.setitem(sys.modules, "ray.util", SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1"))
    settings = LearnerSettings(Skeleton.of(tiny_lm()), "cpu", OPTIM, 2, Objectives())
    return TrainerActor(settings, lambda *_: None)


def test_nobody_else_can_take_the_port_before_the_ranks_meet(actor) -> None:
    host, port = actor.meet().split(":")
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("", int(port)))
    met = []
    other = threading.Thread(target=lambda: met.append(meet_at(1, 2, host, int(port), 20.0).get("said")))
    other.start()  # it may knock before rank 0 opens
    store = meet_at(0, 2, host, int(port), 20.0, actor._door)
    store.set("said", "here")
    other.join()
    assert met == [b"here"]
