"""A server beside an actor, which must not outlive it however it ends: a keeper between them holds a pipe,
and ends the server and all that it started when the pipe closes."""

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from shoestring.cluster.exits import signal_words

# In a session of its own, so that all that the server starts is in one group. It is two processes: Ray ends
# an actor's children with it, the outer one, before that could end anybody.
KEEPER = """
import os, signal, subprocess, sys, threading
inner = os.fork()
if inner:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
    os._exit(128 - code if code < 0 else code)
started = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def watch():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
code = started.wait()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)  # what it leaves behind
os._exit(128 - code if code < 0 else code)
"""


class Kept:
    """`log` takes all that the server says. `pid` is the keeper's."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log, self._polling = log, threading.Lock()  # Popen's own tells a second thread that all is well
        with log.open("wb") as file:
            self._keeper = subprocess.Popen(
                [sys.executable, "-c", KEEPER, *command],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._keeper.pid

    @property
    def runs(self) -> bool:
        with self._polling:
            return self._keeper.poll() is None

    def ending(self) -> str:
        """How it ended, and the last that it said of an error."""
        code = self._keeper.returncode
        how = f"exit code {code}"
        if code is not None and (number := -code if code < 0 else code - 128) in signal.valid_signals():
            how = signal_words(number)
        lines = [line.strip() for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        told = [line for line in lines if "Error" in line] or lines
        return f"{how}: {told[-1][-300:]}" if told else how

    def close(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
