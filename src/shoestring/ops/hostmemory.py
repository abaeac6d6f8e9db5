"""Memory of a CPU that isn't left to the C allocator's defaults."""

import ctypes
import functools
import math
import mmap
import platform
from collections.abc import Sequence

import torch
from torch import Tensor

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


@functools.cache
def keep_freed_memory() -> bool:
    """Once a process: tell glibc to keep freed blocks instead of giving them back to the kernel. By default
    every tensor over 32 MiB is mapped and zeroed page by page each time it is made: a (256, 49152) float copy
    took 20 ms, and 6 ms with the pages kept. True when the allocator took it; others (musl, macOS) are left
    alone."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(
        mallopt(*s) for s in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))
    )


def mapped_zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros in pages of their own, which the kernel gives when they are first written and takes back with the
    tensor. For what is large and lives long: on the C heap a cache that had grown by a half nine times left
    holes of all its earlier sizes. Raises MemoryError where the address space is full."""
    count = math.prod(shape)
    if not count:
        return torch.zeros(tuple(shape), dtype=dtype)
    try:
        memory = mmap.mmap(-1, count * dtype.itemsize)
    except OSError as error:
        raise MemoryError(f"can't map {count * dtype.itemsize:,} bytes: {error.strerror}") from None
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux; a quarter of a million small pages a GiB otherwise
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(tuple(shape))
