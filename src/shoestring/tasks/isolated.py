"""Starts one process behind walls, watches it from outside and says how it ended. sandbox.py is the door.

The clock and the cap on output are kept here. All that the code starts ends with the namespace's first process,
which is killed through a descriptor of it (a pidfd), so that no number can be mistaken. Who that is, the kernel
tells: it stamps the sender on the first message of sandbox_child.py.
"""

import marshal
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from shoestring.errors import ShoestringError
from shoestring.settings import Settings
from shoestring.tasks.seccomp import system_call_filter

Way = Literal["bwrap", "plain"]
START_S = 20.0  # for the namespaces and Python's start, on a busy machine
END_S = 10.0  # for what was killed to be gone
SYSTEM = ("/usr", "/bin", "/lib", "/lib64")
DEVICES = ("null", "zero", "full", "random", "urandom")
MEBI = 1 << 20
# what Python is started with: the code of sandbox_child.py stands before what is asked of it
BOOT = "import marshal, sys; ASKED = open(int(sys.argv[3]), 'rb', closefd=False); ASKED.seek(0); exec(marshal.load(ASKED))"


class Limits(Settings):
    """What one run may use. Memory is each process's address space: all of them together may use `processes`
    times as much."""

    wall_s: float = Field(2.0, gt=0, le=600)
    cpu_s: int = Field(10, ge=1)
    memory_mib: int = Field(512, ge=64)
    processes: int = Field(16, ge=1)  # and threads
    open_files: int = Field(64, ge=16)
    disk_mib: int = Field(16, ge=1)  # of all files together; it is memory
    files: int = Field(1000, ge=10)
    output_kib: int = Field(1024, ge=1)  # stdout, stderr and results together


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


@dataclass(frozen=True)
class Program:
    """source is run as the main module. calls: JSON lists of arguments, each for `entry_point`."""

    source: str
    stdin: str = ""
    calls: tuple[str, ...] | None = None
    entry_point: str = ""


def run_isolated(program: Program, limits: Limits, way: Way) -> Ran:
    """Raises SandboxFailed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    pipes = {name: os.pipe() for name in ("stdout", "stderr", "results")}
    reads = {name: read for name, (read, _) in pipes.items()}
    writes = {name: write for name, (_, write) in pipes.items()}
    stdin, asked = _in_memory(program.stdin.encode(errors="replace")), os.memfd_create("asked")
    try:
        command = _fill(asked, program, limits, way, theirs.fileno(), writes["results"])
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=writes["stdout"],
            stderr=writes["stderr"],
            pass_fds=(theirs.fileno(), asked, writes["results"]),
            env=_environment(),
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
        try:
            signal.pidfd_send_signal(self._first, signal.SIGKILL)
        except ProcessLookupError:
            pass

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


def _in_memory(data: bytes) -> int:
    """A descriptor from which `data` can be read, and nothing written."""
    writing = os.memfd_create("stdin")
    try:
        with open(writing, "wb", closefd=False) as file:
            file.write(data)
        return os.open(f"/proc/self/fd/{writing}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writing)


def _fill(asked: int, program: Program, limits: Limits, way: Way, report: int, results: int) -> list[str]:
    """Write what the child has to know into `asked`; gives back the command that starts it."""
    bwrap = _bwrap(limits, report, asked) if way == "bwrap" else []
    body: dict[str, Any] = {
        "source": program.source,
        "calls": program.calls,
        "entry": program.entry_point,
        "results": results,
        "limits": _resource_limits(limits),
        "filter": system_call_filter(),
        "disk_bytes": limits.disk_mib * MEBI,
        "max_files": limits.files,
        "devices": DEVICES,
        "show": shown(),
        "links": links(),
        "bwrap": bwrap,
    }
    with open(asked, "wb", closefd=False) as file:
        file.write(_child() + marshal.dumps(body))
    if way == "bwrap" and os.getuid() != 0:
        return bwrap
    return _python("plain" if way == "plain" else "stage", report, asked)


def _python(way: str, report: int, asked: int) -> list[str]:
    return [_executable(), "-I", "-S", "-B", "-X", "utf8", "-c", BOOT, way, str(report), str(asked)]


def _bwrap(limits: Limits, report: int, asked: int) -> list[str]:
    """As root the tree is laid out before bubblewrap starts, by sandbox_child.py's stage; it is /tmp then."""
    if os.getuid() == 0:
        tree = ["--bind", "/tmp", "/"]
    else:
        tree = [word for path in shown() for word in ("--ro-bind", path, path)]
        tree += [word for link, target in links().items() for word in ("--symlink", target, link)]
        tree += [word for name in DEVICES for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")]
        tree += ["--size", str(limits.disk_mib * MEBI), "--tmpfs", "/work", "--symlink", "/work", "/tmp"]
        tree += ["--remount-ro", "/"]
    who = ["--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"]
    ends = ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL", "--chdir", "/work"]
    return [_bwrap_path(), *who, *ends, *tree, "--", *_python("bwrap", report, asked)]


def _resource_limits(limits: Limits) -> dict[str, tuple[int, int]]:
    """Soft and hard. The soft one of the processor ends the code with a signal that tells why."""
    disk = limits.disk_mib * MEBI
    memory = limits.memory_mib * MEBI
    single = {
        "RLIMIT_AS": memory,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": disk,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": 128,
    }
    return {name: (n, n) for name, n in single.items()} | {"RLIMIT_CPU": (limits.cpu_s, limits.cpu_s + 1)}


@cache
def _child() -> bytes:
    """Compiled once, here: compiling it anew would be a fifth of what a start costs."""
    path = Path(__file__).with_name("sandbox_child.py")
    return marshal.dumps(compile(path.read_text(encoding="utf-8"), path.name, "exec"))


@cache
def _bwrap_path() -> str:
    return shutil.which("bwrap") or "bwrap"


@cache
def _executable() -> str:
    """The Python that a virtual environment was made from: what it needs is in one place."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def shown() -> tuple[str, ...]:
    """Folders that the code can read: the system's libraries, and this Python. None lies within another."""
    prefix = os.path.realpath(sys.base_prefix)
    wanted = [*SYSTEM, f"{prefix}/lib", f"{prefix}/lib64", os.path.dirname(_executable())]
    there = sorted(path for path in set(wanted) if os.path.isdir(path) and not os.path.islink(path))
    return tuple(p for p in there if not any(p.startswith(f"{other}/") for other in there))


def links() -> dict[str, str]:
    """Where /lib and the like are links into /usr."""
    return {path: os.readlink(path) for path in SYSTEM if os.path.islink(path)}


def _environment() -> dict[str, str]:
    libraries = f"{os.path.realpath(sys.base_prefix)}/lib"
    inside = {"HOME": "/work", "TMPDIR": "/work", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": libraries}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", **inside}
