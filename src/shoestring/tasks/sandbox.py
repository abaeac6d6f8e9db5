"""Runs a stranger's Python on this machine without letting it out, and without an account anywhere.

The code gets namespaces of its own (users, processes, mounts, network, IPC, host name), a read-only tree with
a Python in it and a small folder in memory to write to, limits, no rights and a filter of system calls. There
are two ways to make the namespaces: `bwrap`, where bubblewrap is installed, and `plain` calls to the kernel.
Where neither works nothing is run, and BadInput says why. See docs/sandbox.md.
"""

import platform
import shutil
import sys
from collections.abc import Sequence
from functools import cache

from shoestring.errors import BadInput
from shoestring.tasks.isolated import START_S, Ran, SandboxFailed, Status, run_isolated
from shoestring.tasks.sandbox_start import Limits, Program, Way
from shoestring.tasks.seccomp import system_call_filter

__all__ = ["WAYS", "Limits", "Ran", "Sandbox", "SandboxFailed", "Status", "Way", "describe", "missing"]

WAYS: tuple[Way, ...] = ("bwrap", "plain")


class Sandbox:
    """`Sandbox(Limits(wall_s=1)).run("print(input())", stdin="hi")`. Any thread may use it. Raises BadInput
    where this machine can't isolate."""

    def __init__(self, limits: Limits | None = None, way: Way | None = None) -> None:
        self.limits = limits or Limits()
        self.way: Way = way or working_way()
        if why := missing(self.way):
            raise BadInput(f"no sandbox by '{self.way}' here: {why}")

    def run(self, source: str, stdin: str = "", wall_s: float | None = None) -> Ran:
        """Run `source` as the main module. Raises SandboxFailed."""
        return run_isolated(Program(source, stdin), self._limits(wall_s), self.way)

    def call(
        self, source: str, entry_point: str, arguments: Sequence[str], wall_s: float | None = None
    ) -> Ran:
        """Run `source`, then its function (or `Class.method`) once with each JSON list of arguments: what it
        gives comes back in `results`. Raises SandboxFailed."""
        program = Program(source, calls=tuple(arguments), entry_point=entry_point)
        return run_isolated(program, self._limits(wall_s), self.way)

    def _limits(self, wall_s: float | None) -> Limits:
        return self.limits if wall_s is None else self.limits.model_copy(update={"wall_s": wall_s})


def working_way() -> Way:
    """The way this machine isolates. Raises BadInput, in one line, where none works."""
    for way in WAYS:
        if not missing(way):
            return way
    reasons = "; ".join(f"{way}: {missing(way)}" for way in WAYS)
    raise BadInput(f"this machine can't isolate code, so none is run ({reasons})")


@cache
def missing(way: Way) -> str:
    """Why the way doesn't work here, which is tried once by running something; empty where it does."""
    if sys.platform != "linux":
        return f"it needs Linux, not {platform.system()}"
    if way == "bwrap" and not shutil.which("bwrap"):
        return "bubblewrap isn't installed"
    try:
        ran = run_isolated(Program("print(2 + 2)"), Limits(wall_s=START_S), way)
    except SandboxFailed as error:
        return str(error)
    return "" if ran.stdout == "4\n" else f"a trial ended {ran.status} ({ran.stderr.strip()[-200:]})"


def describe() -> str:
    """One line: how code is isolated here, and what of that is missing."""
    try:
        way = working_way()
    except BadInput as error:
        return str(error)
    notes = [f"no {other}: {why}" for other in WAYS if other != way and (why := missing(other))]
    if system_call_filter() is None:
        notes.append(f"no filter of system calls for {platform.machine()}")
    return f"isolated by {way}" + (f" ({'; '.join(notes)})" if notes else "")
