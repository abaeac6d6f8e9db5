"""Starts one process behind walls, watches it from outside and says how it ended. sandbox.py is the door.

The clock and the cap on output are kept here. All that the code starts ends with the namespace's first
process, which is killed through a descriptor of it (a pidfd), so that no number can be mistaken. Who that is,
the kernel tells: it stamps the sender on the first message of sandbox_child.py.
"""

import contextlib
import os
import selectors
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shoestring.errors import ShoestringError
from shoestring.tasks.sandbox_start import Limits, Program, Way, environment, fill, in_memory

START_S = 20.0  # for the namespaces and Python's start, on a busy machine
END_S = 10.0  # for what was killed to be gone


class Status(StrEnum):
    OK = "ok"
    FAILED = "failed"  # it ended with an exit code that isn't 0
    TIMEOUT = "timeout"  # of wall clock or processor
    MEMORY = "memory"  # it asked for more than it may have and ended with MemoryError
    OUTPUT = "output"  # it wrote more than the cap, and was killed
    KILLED = "killed"  # by a signal, its own or the kernel's


@dataclass(frozen=True)
class Ran:
    """cut: stdout and stderr end at the cap. results: the lines that came back through the results' pipe. The
    code can write there too, so they are data to compare and never a verdict."""

    status: Status
    stdout: str
    stderr: str
    seconds: float
    cut: bool
    code: int  # exit code, or minus the signal
    results: tuple[str, ...]


class SandboxFailed(ShoestringError):
    """The sandbox itself didn't come up or go down; says nothing about the code."""


def run_isolated(program: Program, limits: Limits, way: Way) -> Ran:
    """Raises SandboxFailed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    pipes = {name: os.pipe() for name in ("stdout", "stderr", "results")}
    reads = {name: read for name, (read, _) in pipes.items()}
    writes = {name: write for name, (_, write) in pipes.items()}
    stdin, asked = in_memory(program.stdin.encode(errors="replace")), os.memfd_create("asked")
    try:
        command = fill(asked, program, limits, way, theirs.fileno(), writes["results"])
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=writes["stdout"],
            stderr=writes["stderr"],
            pass_fds=(theirs.fileno(), asked, writes["results"]),
            env=environment(),
            cwd="/",
            start_new_session=True,  # a terminal's Ctrl-C is ours alone
        )
    except OSError as error:
        for fd in reads.values():
            os.close(fd)
        ours.close()
        raise SandboxFailed(f"it can't be started: {error}") from None
    finally:
        theirs.close()
        for fd in (stdin, asked, *writes.values()):
            os.close(fd)
    return Watch(process, ours, reads, limits).until_gone()


class Watch:
    """Reads everything that a started sandbox says until all of it is gone."""

    def __init__(
        self, process: subprocess.Popen, channel: socket.socket, reads: Mapping[str, int], limits: Limits
    ) -> None:
        self._process, self._channel, self._limits = process, channel, limits
        self._names = {fd: name for name, fd in reads.items()}
        self._said = {name: bytearray() for name in reads}
        self._room = limits.output_kib * 1024
        self._deadline = time.monotonic() + START_S
        self._first: int | None = None  # pidfd of the namespace's first process
        self._begun = self._seconds = 0.0
        self._ended = ""  # "exit 0", "signal 9": how the code ended, as its keeper saw it
        self._refused = ""
        self._killed: Status | None = None  # why we killed it

    def until_gone(self) -> Ran:
        try:
            self._read_all()
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise SandboxFailed(f"what was killed is still there after {END_S:g} s") from None
        finally:
            if self._process.poll() is None:
                self._end()
                self._process.wait(END_S)
            for fd in self._names:
                os.close(fd)
            self._channel.close()
            if self._first is not None:
                os.close(self._first)
        if self._first is None:
            said = self._text("stderr").strip()[-200:]
            raise SandboxFailed(self._refused or said or f"it didn't start within {START_S:g} s")
        return self._ran()

    def _read_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            for fd in (self._channel.fileno(), *self._names):
                selector.register(fd, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, self._deadline - time.monotonic()))
                for key, _ in ready:
                    if not (self._hear() if key.fd not in self._names else self._take(key.fd)):
                        selector.unregister(key.fd)
                if time.monotonic() >= self._deadline:
                    if self._killed:
                        raise SandboxFailed(f"what was killed is still there after {END_S:g} s")
                    self._kill(Status.TIMEOUT)

    def _hear(self) -> bool:
        """One message of the child's trusted part; False at its end."""
        try:
            message, stamps, _, _ = self._channel.recvmsg(1024, socket.CMSG_SPACE(12))
        except ConnectionResetError:
            return False
        text = message.decode(errors="replace")
        if text == "ready" and self._first is None and not self._killed:
            (pid, _, _) = struct.unpack("iii", stamps[0][2])
            self._first = os.pidfd_open(pid)  # it waits for our "go", so it is still there
            self._channel.send(b"go")
            self._begun = time.monotonic()
            self._deadline = self._begun + self._limits.wall_s
        elif text.startswith("refused "):
            self._refused = text.removeprefix("refused ")
        elif text:
            self._ended, self._seconds = text, time.monotonic() - self._begun
        return bool(text)

    def _take(self, fd: int) -> bool:
        chunk = os.read(fd, 1 << 16)
        self._said[self._names[fd]] += chunk[: self._room]
        over, self._room = len(chunk) > self._room, max(0, self._room - len(chunk))
        if over and self._killed is None:
            self._kill(Status.OUTPUT)
        return bool(chunk)

    def _kill(self, why: Status) -> None:
        self._killed = why
        self._seconds = time.monotonic() - self._begun
        self._deadline = time.monotonic() + END_S
        self._end()

    def _end(self) -> None:
        if self._first is None:
            self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first, signal.SIGKILL)

    def _text(self, name: str) -> str:
        return self._said[name].decode(errors="replace")

    def _ran(self) -> Ran:
        kind, _, number = (self._ended or f"signal {signal.SIGKILL}").partition(" ")
        code = int(number) if kind == "exit" else -int(number)
        stderr = self._text("stderr")
        if self._killed:
            status, code = self._killed, -signal.SIGKILL
        elif code == -signal.SIGXCPU:
            status = Status.TIMEOUT
        elif code < 0:
            status = Status.KILLED
        elif code and stderr.strip().rpartition("\n")[2].startswith("MemoryError"):
            status = Status.MEMORY
        else:
            status = Status.FAILED if code else Status.OK
        lines = tuple(self._text("results").splitlines())
        cut = status is Status.OUTPUT
        return Ran(status, self._text("stdout"), stderr, self._seconds, cut, code, lines)
