"""Energy counters where the system lets one read them: RAPL of Intel and AMD processors, NVML of NVIDIA's
GPUs."""

import ctypes
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

RAPL = Path("/sys/class/powercap")
Measured = Literal["all", "processors", "GPUs"]


class Gpu(Protocol):
    def joules(self) -> float | None: ...


class EnergyMeter:
    """Joules since the last look, of the processors' packages and the GPUs together. `source` says which
    counters there are; "" where there are none, and then nothing is measured."""

    def __init__(self, rapl: Path = RAPL, gpus: Sequence[Gpu] | None = None) -> None:
        self._zones = _packages(rapl)
        found = _nvml_gpus() if gpus is None else gpus
        # one that has no counter would pass for one that takes nothing: then no GPU is measured
        self._gpus = found if all(gpu.joules() is not None for gpu in found) else []
        names = ["RAPL"] * bool(self._zones) + ["NVML"] * bool(self._gpus)
        self.source = " and ".join(names)
        self._last = self._read()

    def measures(self, gpus_at_work: bool) -> Measured:
        """What of the machine its joules are of."""
        if not self._zones:
            return "GPUs"
        return "processors" if gpus_at_work and not self._gpus else "all"

    def take(self) -> float | None:
        """None where nothing is measured, or where a counter couldn't be read."""
        before, self._last = self._last, self._read()
        if not self.source or before is None or self._last is None:
            return None
        joules = 0.0
        for name, (value, wraps_at) in self._last.items():
            joules += (value - before[name][0]) % wraps_at if wraps_at else value - before[name][0]
        return joules

    def _read(self) -> dict[str, tuple[float, float]] | None:
        """Joules of each counter, and at how many it begins anew (0: never)."""
        found: dict[str, tuple[float, float]] = {}
        for zone in self._zones:
            microjoules, most = _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj") or 0.0
            if microjoules is None:
                return None
            found[zone.name] = microjoules / 1e6, most / 1e6
        for number, gpu in enumerate(self._gpus):
            joules = gpu.joules()
            if joules is None:
                return None
            found[f"gpu-{number}"] = joules, 0.0
        return found


def _packages(rapl: Path) -> list[Path]:
    """Each processor's package. `psys` is the whole platform with the packages in it, so it is taken only
    where there is no package."""
    zones = [zone for zone in sorted(rapl.glob("*-rapl:*")) if re.search(r"-rapl:\d+$", zone.name)]
    readable = [zone for zone in zones if _number(zone / "energy_uj") is not None]
    return [zone for zone in readable if not _is_platform(zone)] or readable


def _is_platform(zone: Path) -> bool:
    try:
        return (zone / "name").read_text().strip().startswith("psys")
    except OSError:
        return False


class _NvmlGpu:
    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle

    def joules(self) -> float | None:
        """None where it has no such counter (before Volta, and some cards of consumers)."""
        millijoules = ctypes.c_ulonglong()
        fault = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(millijoules))
        return None if fault else millijoules.value / 1000


def _nvml_gpus() -> list[_NvmlGpu]:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # no NVIDIA driver
        return []
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    found: list[_NvmlGpu] = []
    for number in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == 0:
            found.append(_NvmlGpu(library, handle))
    return found


def _number(path: Path) -> float | None:
    """None where it is not there, or not for us: many systems let root alone read energy."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
