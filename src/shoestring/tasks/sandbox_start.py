"""How a sandbox's process is started: its limits, its command, and what of this machine it sees."""

import marshal
import os
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from shoestring.settings import Settings
from shoestring.tasks.seccomp import system_call_filter

Way = Literal["bwrap", "plain"]
SYSTEM = ("/usr", "/bin", "/lib", "/lib64")
DEVICES = ("null", "zero", "full", "random", "urandom")
MEBI = 1 << 20
# what Python is started with: the code of sandbox_child.py stands before what is asked of it
BOOT = """import marshal, sys
ASKED = open(int(sys.argv[3]), "rb", closefd=False)
ASKED.seek(0)
exec(marshal.load(ASKED))"""


class Limits(Settings):
    """What one run may use. Memory is each process's address space: all of them together may use `processes`
    times as much."""

    wall_s: float = Field(default=2.0, gt=0, le=600)
    cpu_s: int = Field(default=10, ge=1)
    memory_mib: int = Field(default=512, ge=64)
    processes: int = Field(default=16, ge=1)  # and threads
    open_files: int = Field(default=64, ge=16)
    disk_mib: int = Field(default=16, ge=1)  # of all files together; it is memory
    files: int = Field(default=1000, ge=10)
    output_kib: int = Field(default=1024, ge=1)  # stdout, stderr and results together


@dataclass(frozen=True)
class Program:
    """source is run as the main module. calls: JSON lists of arguments, each for `entry_point`."""

    source: str
    stdin: str = ""
    calls: tuple[str, ...] | None = None
    entry_point: str = ""


def in_memory(data: bytes) -> int:
    """A descriptor from which `data` can be read, and nothing written."""
    writing = os.memfd_create("stdin")
    try:
        with open(writing, "wb", closefd=False) as file:
            file.write(data)
        return os.open(f"/proc/self/fd/{writing}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writing)


def fill(asked: int, program: Program, limits: Limits, way: Way, report: int, results: int) -> list[str]:
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


def environment() -> dict[str, str]:
    libraries = f"{os.path.realpath(sys.base_prefix)}/lib"
    inside = {"HOME": "/work", "TMPDIR": "/work", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": libraries}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", **inside}
