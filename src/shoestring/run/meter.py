"""What a piece of work took of the machine, from one line of usage.jsonl to the next."""

import hashlib
import os
import platform
import secrets
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from shoestring.run.power import EnergyMeter

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Meter:
    """One sitting: a stage open in one process. Every line says which it is and on which machine, so that a
    bill can tell that several were at work at once (`budget.usage`)."""

    def __init__(self) -> None:
        self.sitting, self.machine = secrets.token_hex(4), machine_mark()
        self._energy, self._cpu_s, self._looked = EnergyMeter(), _processor_seconds(), time.time()

    def take(self, seconds: float) -> dict[str, Any]:
        """Since the line before, which ended at `began`: seconds of all processors, and joules where they are
        measured; what lies between two pieces of work goes with the later one. A GPU is busy for as long as
        the work takes."""
        began, self._looked = self._looked, time.time()
        before, self._cpu_s = self._cpu_s, _processor_seconds()
        used: dict[str, Any] = {"machine": self.machine, "sitting": self.sitting, "began": round(began, 3)}
        used |= {"time": round(self._looked, 3), "core_seconds": round(self._cpu_s - before, 3)}
        gpus = gpus_at_work()
        joules = self._energy.take()
        if joules is not None:
            used |= {"joules": round(joules, 3), "joules_of": self._energy.measures(gpus > 0)}
        if gpus:
            used["gpu_seconds"] = round(gpus * seconds, 4)
        return used


def gpus_at_work() -> int:
    """Those that this process holds memory of, or where it leads ranks on GPUs, one each."""
    if not torch.cuda.is_initialized():
        return 0
    own = sum(torch.cuda.memory_reserved(number) > 0 for number in range(torch.cuda.device_count()))
    ranks = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    return max(own, ranks)


def machine_mark() -> str:
    """The same for all processes of a machine, containers too, and no name of it."""
    try:
        known = BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # no Linux
        known = platform.node()
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def _processor_seconds() -> float:
    """Of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
