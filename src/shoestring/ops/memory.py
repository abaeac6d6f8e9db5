"""Memory that ran out, and the most that a piece of work took."""

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

_SAID = (  # by torch's CPU allocator (Linux, Windows), C++ and cuBLAS, none of which has an error of its own
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
)

GROWN, SETTLED = 1.2, 3  # times; steps, of which the one that holds most is what is compared with


def ran_out(error: BaseException) -> bool:
    """Whether the error says that there was no memory for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


def give_back(device: torch.device) -> None:
    """Freed blocks that an allocator keeps, in sizes that may fit nothing now. glibc's keeps what training a
    135M model took: 3.4 GB were resident after it, 0.37 after this."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, other C libraries may not
        if trim is not None:
            trim(0)


class Creep:
    """Of a process that works in steps of many shapes: what its allocator keeps grows by holes that nothing
    fits into. A 135M model trained on rows of 100 to 500 tokens held 4.6 GiB after its first steps and 10.4
    after sixty. So once it holds GROWN times what it held after the first steps, what is free is given back;
    each such time costs the next step as many page faults as it touches pages."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.given_back = 0
        self._first: list[int] = []

    def look(self) -> None:
        """After each step. A GPU's allocator is left alone: it gives back by itself what doesn't fit."""
        if self.device.type == "cuda":
            return
        held = resident_bytes()
        if len(self._first) < SETTLED:
            self._first.append(held)
        elif held > GROWN * max(self._first):
            give_back(self.device)
            self.given_back += 1
            self._first = []


def resident_bytes() -> int:
    """What this process holds of the machine's memory; 0 where the system doesn't say (not Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def free_bytes(device: torch.device) -> int:
    """That new tensors may take: of a GPU, else of the machine or of the container that the process is in."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [_available()]
    try:  # version 2 of control groups
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(0, min(found))


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def reset_peak(device: torch.device) -> None:
    """Begin to measure `peak_bytes` anew, where the system lets one; else it is the process's so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or a container that forbids it
        return


def peak_bytes(device: torch.device) -> int:
    """The most since `reset_peak`: of tensors on a GPU, else of the whole process (resident)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
