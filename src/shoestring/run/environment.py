"""What a run ran on: nothing in here names the user, the machine or a folder."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from shoestring.ops.hardware import native_bf16

PACKAGES = ("shoestring", "torch", "numpy", "safetensors", "tokenizers", "pydantic", "pyarrow", "gguf")


def environment() -> dict[str, Any]:
    """Python, processor, memory, number formats and package versions, JSON-able."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "vector_extension": torch.backends.cpu.get_cpu_capability(),
        "bf16_native": native_bf16(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "packages": {name: version for name in PACKAGES if (version := package_version(name))},
    }


def cpu_model() -> str:
    """The processor's name; on Linux platform.processor() is often empty."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
