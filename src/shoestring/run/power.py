"""Energy counters where the system lets one read them: RAPL of Intel and AMD processors, NVML of NVIDIA's
GPUs."""

import ctypes
from pathlib import Path

RAPL = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules since the last look, of the processors' packages and the GPUs together. `source` says which
    counters there are; "" where there are none, and then nothing is measured."""

    def __init__(self, rapl: Path = RAPL) -> None:
        self._zones = [
            zone for zone in sorted(rapl.glob("*-rapl:?")) if _number(zone / "energy_uj") is not None
        ]
        self._gpus = _nvml_gpus()
        names = ["RAPL"] * bool(self._zones) + ["NVML"] * bool(self._gpus)
        self.source = " and ".join(names)
        self._last = self._read()

    def take(self) -> float | None:
        """None where nothing is measured."""
        if not self.source:
            return None
        before, self._last = self._last, self._read()
        joules = 0.0
        for name, (value, wraps_at) in self._last.items():
            joules += (value - before[name][0]) % wraps_at if wraps_at else value - before[name][0]
        return joules

    def _read(self) -> dict[str, tuple[float, float]]:
        """Joules of each counter, and at how many it begins anew (0: never)."""
        found: dict[str, tuple[float, float]] = {}
        for zone in self._zones:
            most = _number(zone / "max_energy_range_uj") or 0.0
            found[zone.name] = (_number(zone / "energy_uj") or 0.0) / 1e6, most / 1e6
        for number, gpu in enumerate(self._gpus):
            found[f"gpu-{number}"] = gpu.joules(), 0.0
        return found


class _Gpu:
    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle

    def joules(self) -> float:
        millijoules = ctypes.c_ulonglong()
        self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(millijoules))
        return millijoules.value / 1000


def _nvml_gpus() -> list[_Gpu]:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # no NVIDIA driver
        return []
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    found: list[_Gpu] = []
    for number in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == 0:
            found.append(_Gpu(library, handle))
    return found


def _number(path: Path) -> float | None:
    """None where it is not there, or not for us: many systems let root alone read energy."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
