"""A scoring process that can be killed, and the pipes to it."""

import json
import os
import pickle
import selectors
import subprocess
import sys
import threading
import time
from typing import Any

from shoestring.errors import BadInput, ShoestringError
from shoestring.tasks.worker import LENGTH, Item

START_S = 120.0  # to start Python, or to import what a scorer needs, on a slow and busy machine
CLOSED = "the judge is closed"


class WorkerGone(Exception):
    """The process ended by itself."""


class WorkerLate(Exception):
    """The process said nothing within the time it had."""


class Worker:
    """One process and the pipes to it; used by one thread at a time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._closed = False
        self._changing = threading.Lock()  # kill() may come from another thread, in the middle of a restart
        self._start()

    def _start(self) -> None:
        # all that can be imported here can be there; a scorer in the working folder too
        path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), os.getcwd()]))
        command = [sys.executable, "-P", "-m", "shoestring.tasks.worker", str(self._timeout_s)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # a terminal's Ctrl-C is ours alone
        )
        self._received = b""
        self._greeted = False

    def begin(self, lenient: bool, items: list[Item]) -> None:
        """Send a chunk and wait until its scorers are loaded. Raises BadInput where they can't be."""
        if self._closed:
            raise ShoestringError(CLOSED)
        if not self._greeted:
            try:
                self.receive(START_S)
            except (WorkerGone, WorkerLate) as fault:
                raise ShoestringError(f"a scoring process can't start: it {fault}") from None
            self._greeted = True
        body = pickle.dumps((lenient, items))
        assert self._process.stdin is not None
        try:
            frame = memoryview(LENGTH.pack(len(body)) + body)
            while frame:
                frame = frame[self._process.stdin.write(frame) or 0 :]
        except BrokenPipeError:
            raise WorkerGone(self._ending()) from None
        try:
            message = self.receive(START_S)
        except (WorkerGone, WorkerLate) as fault:
            self.restart()
            families = ", ".join(sorted({problem.family for _, problem, _ in items}))
            raise BadInput(f"the scorer of {families} can't be loaded: its process {fault}") from None
        if "bad" in message:
            raise BadInput(message["bad"])

    def receive(self, within_s: float) -> dict[str, Any]:
        """The next message. Raises WorkerLate after `within_s`, WorkerGone when the process ended."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise WorkerLate(f"said nothing for {within_s:g} s")
                data = self._process.stdout.read(1 << 16)
                if not data:
                    raise WorkerGone(self._ending())
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def restart(self) -> None:
        with self._changing:
            self._end()
            if self._closed:
                raise ShoestringError(CLOSED)
            self._start()

    def kill(self) -> None:
        """For good. Its pipes stay open: another thread may be reading them."""
        with self._changing:
            self._closed = True
            self._process.kill()

    def end(self) -> None:
        with self._changing:
            self._closed = True
            self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _ending(self) -> str:
        code = self._process.wait()
        return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
