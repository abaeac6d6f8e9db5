"""What an actor says of itself beside its work, and what is made of it when it says no more."""

import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass

import torch

from shoestring.ops.memory import free_bytes, resident_bytes

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Look:
    """rss_bytes: what the process holds; free_bytes: what its machine has left. phase: what it was at.
    silent_s: since it last got on with it."""

    pid: int
    host: str
    node: str  # Ray's id of the machine
    phase: str
    rss_bytes: int
    free_bytes: int
    silent_s: float = 0.0

    @property
    def memory(self) -> str:
        return f"{self.rss_bytes / 2**30:.2f} GiB of memory, {self.free_bytes / 2**30:.1f} GiB left there"


class Seen:
    """The base of what runs in an actor: it can be looked at while it works."""

    def __init__(self) -> None:
        self._node, self._phase = _node(), "starting"
        self._goes_on()

    def _at(self, phase: str) -> None:
        self._phase = phase
        self._goes_on()

    def _goes_on(self) -> None:
        """Called by the work at every piece of it."""
        self._working, self._since = threading.get_ident(), time.monotonic()

    def look(self) -> Look:
        host, node = os.uname().nodename, self._node
        silent_s = time.monotonic() - self._since
        return Look(os.getpid(), host, node, self._phase, resident_bytes(), free_bytes(CPU), silent_s)

    def stack(self) -> str:
        """Of the thread that works, or worked last."""
        frame = sys._current_frames().get(self._working)
        shown = "".join(traceback.format_stack(frame)) if frame is not None else "no thread is at work\n"
        return f"{self._phase}\n{shown}"


def _node() -> str:
    """Ray's id of the machine that this process runs on; "" outside Ray."""
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else ""
