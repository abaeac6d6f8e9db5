"""Ctrl-C or SIGTERM: the first asks the work to save and stop, the second stops it where it is."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class StopSignal:
    """A context that catches SIGINT and SIGTERM, in the main thread only (Python allows handlers nowhere
    else)."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.requested = False
        self._announce = announce
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before if before is not None else signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._announce("stopping once this step is saved; Ctrl-C again stops at once")
