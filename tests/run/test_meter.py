"""What a line of usage.jsonl says of the machine."""

import time

import pytest
import torch

from shoestring.run import meter
from shoestring.run.meter import Meter, gpus_at_work, machine_mark


def test_lines_of_a_sitting_follow_each_other_and_sittings_are_told_apart():
    mine, other = Meter(), Meter()
    first = mine.take(0.01)
    time.sleep(0.02)
    second = mine.take(0.01)
    assert first["time"] == second["began"] < second["time"]
    assert first["sitting"] == second["sitting"] != other.take(0.0)["sitting"]
    assert first["machine"] == other.take(0.0)["machine"]


def test_a_machine_has_a_mark_and_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr(meter, "BOOT_ID", tmp_path / "none")
    monkeypatch.setattr("platform.node", lambda: "anns-laptop")
    assert "ann" not in machine_mark()
    assert machine_mark() == machine_mark()


@pytest.mark.parametrize(("held", "ranks", "wanted"), [((5, 7), 1, 2), ((5, 0), 1, 1), ((5, 0), 4, 4)])
def test_every_gpu_that_is_used_counts(monkeypatch, held, ranks, wanted):
    assert gpus_at_work() == 0
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda number: held[number])
    monkeypatch.setattr(meter.distributed, "is_initialized", lambda: ranks > 1)
    monkeypatch.setattr(meter.distributed, "get_world_size", lambda: ranks)
    assert gpus_at_work() == wanted
    assert Meter().take(3.0)["gpu_seconds"] == 3.0 * wanted
