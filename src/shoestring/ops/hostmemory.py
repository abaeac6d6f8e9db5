"""One setting of the C allocator that decides how fast large tensors are on a Linux CPU."""

import ctypes
import functools
import platform

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
