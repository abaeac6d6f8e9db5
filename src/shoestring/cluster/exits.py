"""How a process of this machine ended that is no child of ours: its exit code through a pidfd, which Linux
keeps for whoever holds one (6.15 and later)."""

import fcntl
import os
import signal
import struct

# struct pidfd_info of linux/pidfd.h, its first version: mask, cgroup id, eleven ids, exit code
INFO = struct.Struct("QQ11Ii")
WANT_EXIT = 1 << 3
GET_INFO = (3 << 30) | (INFO.size << 16) | (0xFF << 8) | 11  # _IOWR(0xFF, 11, struct pidfd_info)


def watch(pid: int) -> int | None:
    """A pidfd of a process that runs; None where it doesn't, or the system has none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def ending(watched: int) -> str:
    """ "exit code 1", "signal 9 (SIGKILL)", or "" where nobody can say."""
    try:
        info = bytearray(INFO.pack(WANT_EXIT, *[0] * 12, 0))
        fcntl.ioctl(watched, GET_INFO, info)
        mask, *_, status = INFO.unpack(info)
    except OSError:
        return ""
    if not mask & WANT_EXIT:
        return ""
    if os.WIFSIGNALED(status):
        return signal_words(os.WTERMSIG(status))
    return f"exit code {os.WEXITSTATUS(status)}"


def signal_words(number: int) -> str:
    """ "signal 9 (SIGKILL)"; the number alone where Python has no name for it, as of most real-time ones."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
