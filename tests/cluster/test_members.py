"""What is known of an actor that is lost, without Ray."""

import os
from pathlib import Path

import pytest

from ray_runs import workers
from shoestring.cluster.look import Look
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.members import Members


def members(ray, folder, count=1):
    made = Members(
        ray, "trainer", count, workers(deadline_s=0.3), 1.0, 0.0, (object, ()), lambda _: None, folder
    )
    made.start()
    for member in made.all:
        made.greet_one(member)
        member.phase = "training at step 3"
    return made


def test_one_that_the_memory_monitor_ended_is_lost_with_that_reason(fake_ray, tmp_path):
    made = members(fake_ray(lambda _: object()), tmp_path)
    killed = made.ray.put(made.ray.exceptions.OutOfMemoryError("the node was running low on memory"))
    line = (
        "died while it was training at step 3: Ray ended it because its machine had no memory left; it last"
    )
    with pytest.raises(WorkerLost, match=line):
        made.result(made.all[0], killed)


def test_a_stalled_one_is_told_with_the_memory_that_it_held(fake_ray, after, tmp_path):
    made = members(fake_ray(lambda _: object()), tmp_path)
    hangs = made.ray.put(1)
    hangs.at = float("inf")
    line = "said nothing for 0.3 s while it was training at step 3; it last held 1.00 GiB of memory, 2.0"
    with pytest.raises(WorkerLost, match=line):
        made.result(made.all[0], hangs)
    assert made.ray.actors[0].killed


def test_one_that_does_not_answer_has_no_look(fake_ray, monkeypatch, tmp_path):
    monkeypatch.setattr("shoestring.cluster.members.STACK_S", 0.1)
    made = members(fake_ray(lambda _: object()), tmp_path, 2)
    made.ray.actors[1].dumb = True
    one, other = made.looks(made.all)
    assert one is not None
    assert one.pid == 4711
    assert other is None


def test_starting_all_again_keeps_hold_of_no_process_that_is_gone(fake_ray, tmp_path):
    class Here:
        def look(self):
            return Look(os.getpid(), os.uname().nodename, "n", "at work", 2**30, 2**31)

    made = members(fake_ray(lambda _: Here()), tmp_path, 3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        made.start_again(WorkerLost("gone"))
        for member in made.all:
            made.greet_one(member)
            assert member.watched is not None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    made.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 3
