"""Which errors say that memory ran out, and how much was held at most."""

import subprocess
import sys

import pytest
import torch

from shoestring.ops.memory import Creep, peak_bytes, ran_out, reset_peak

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_memory_that_ran_out(error):
    assert ran_out(error)


def test_what_torch_really_raises():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert ran_out(caught.value)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("bad_alloc"), OSError(12, "")],
)
def test_other_errors(error):
    assert not ran_out(error)


def test_the_peak_rises_with_what_is_held():
    reset_peak(CPU)
    before = peak_bytes(CPU)
    held = torch.ones(100 << 20, dtype=torch.uint8)
    assert peak_bytes(CPU) >= before + (50 << 20)
    del held


HELD = """
import torch
from pathlib import Path
from shoestring.ops.memory import give_back
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096
parts = [torch.ones(6_000) for _ in range(20_000)]  # 480 MB in pieces that glibc takes from its heap
last = torch.ones(6_000)
del parts
before = resident()
give_back(torch.device("cpu"))
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_what_was_freed_goes_back_to_the_system():
    said = subprocess.run([sys.executable, "-c", HELD], check=True, capture_output=True, text=True)
    assert int(said.stdout) > 300 << 20


@pytest.mark.parametrize(
    ("gib", "given_back_after"),
    [
        ([4, 5, 5, 5, 5.9, 6.1, 5, 5, 5, 5.9, 6.1], [6, 11]),  # a fifth over the most of three steps
        ([0, 0, 0, 0, 0], []),  # a system that doesn't say
        ([4, 40, 4, 40, 40], []),  # a step of a shape that was there before
    ],
)
def test_what_an_allocator_keeps_does_not_creep_up(gib, given_back_after, monkeypatch):
    held, after = iter(gib), list[int]()
    monkeypatch.setattr("shoestring.ops.memory.resident_bytes", lambda: next(held) * 2**30)
    creep = Creep(CPU)
    for step in range(1, len(gib) + 1):
        before = creep.given_back
        creep.look()
        if creep.given_back > before:
            after.append(step)
    assert after == given_back_after
