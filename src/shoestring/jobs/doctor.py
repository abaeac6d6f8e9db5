"""What this machine can do, and the one command that adds what is missing."""

import importlib.util
import platform
import shutil
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from shoestring.run.environment import bf16_flags, cpu_model, memory_bytes, usable_cores
from shoestring.settings import Settings

# extra -> the module that shows it is there
EXTRAS = {"gym": "reasoning_gym", "dev": "pytest"}
NEEDED_DISK_GIB = 2.0


class DoctorSettings(Settings):
    probe_size: int = Field(1024, ge=64)  # of the square matrices that are timed
    folder: str = "."  # whose disk is asked for room


@dataclass(frozen=True)
class Finding:
    """fix: the command that mends it; empty where nothing needs to be done."""

    name: str
    value: str
    fix: str = ""


def main(settings: DoctorSettings) -> dict[str, Any]:
    findings = [*machine(settings), *software(), base_model()]
    for finding in findings:
        mark = "!" if finding.fix else " "
        print(f"{mark} {finding.name:<22} {finding.value}")
    fixes = list(dict.fromkeys(f.fix for f in findings if f.fix))
    print()
    print(f"to add what is missing: {' && '.join(fixes)}" if fixes else "nothing is missing")
    return {"findings": {f.name: f.value for f in findings}, "missing": fixes}


def machine(settings: DoctorSettings) -> list[Finding]:
    free = shutil.disk_usage(settings.folder).free / 2**30
    flags = bf16_flags()
    size = settings.probe_size
    rows = [
        Finding("processor", f"{cpu_model()} ({usable_cores()} cores usable)"),
        Finding("vector extension", torch.backends.cpu.get_cpu_capability()),
        Finding("bf16 in hardware", ", ".join(flags) if flags else "no: dtype 'auto' is float32 here"),
        Finding("threads", f"{torch.get_num_threads()} of torch"),
        Finding("memory", f"{memory_bytes() / 2**30:.1f} GiB"),
        Finding("disk free", f"{free:.1f} GiB{'' if free > NEEDED_DISK_GIB else ' (a run needs about 2)'}"),
    ]
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        rows.append(Finding(f"matmul {name}", f"{matmul_gflops(size, dtype):.0f} GFLOP/s at {size} x {size}"))
    if torch.cuda.is_available():
        rows.append(Finding("accelerator", torch.cuda.get_device_name(0)))
    return rows


def matmul_gflops(size: int, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """2 n^3 FLOPs a product, repeated for `seconds` after two to warm up."""
    a, b = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    for _ in range(2):
        a @ b
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        a @ b
        count += 1
    return 2 * size**3 * count / elapsed / 1e9


def software() -> list[Finding]:
    rows = [
        Finding("python", platform.python_version()),
        Finding("torch", torch.__version__),
        Finding("shoestring", metadata.version("shoestring")),
    ]
    for extra, module in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        fix = "" if there else f"pip install 'shoestring[{extra}]'"
        rows.append(Finding(f"extra '{extra}'", "installed" if there else "not installed", fix))
    return rows
