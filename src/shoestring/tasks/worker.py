"""The process in which scorers run. It may hang or die: judge.py starts and watches it.

In: frames of an 8-byte length and a pickle of (lenient, [(index, problem, reply), ...]), written by our own
parent. Out: one JSON line a step, so that nothing a scorer makes is ever unpickled by the parent:
{"ready": true} once up, and again once a frame's scorers are loaded; {"bad": why} where they can't be;
{"index": i, "outcome": ..., "value": ..., "parts": ..., "detail": ..., "said": ...} after each item.
"""

import json
import math
import os
import pickle
import resource
import signal
import struct
import sys
import threading
import time
from typing import IO, Any

from shoestring.errors import BadInput
from shoestring.tasks.base import Family, Outcome, Problem, Verdict
from shoestring.tasks.suite import ready_family
from shoestring.text.message import Reply

MEMORY_BYTES = 8 << 30  # of address space: a scorer that builds 10 ** 10 ** 10 gets a MemoryError
DETAIL_CHARS = 300
SAID_CHARS = 500  # two answers that differ later than here are one vote
LENGTH = struct.Struct("<Q")

Item = tuple[int, Problem, Reply]


def main(limit_s: float) -> None:
    """Serve until the parent closes the pipe. `limit_s` is the parent's clock for one item."""
    frames, lines = _take_pipes()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    _send(lines, {"ready": True})
    while header := frames.read(LENGTH.size):
        lenient, items = pickle.loads(frames.read(LENGTH.unpack(header)[0]))
        _serve(lines, lenient, items, limit_s)


def _serve(lines: IO[bytes], lenient: bool, items: list[Item], limit_s: float) -> None:
    families: dict[str, Family] = {}
    try:
        for _, problem, _ in items:
            families[problem.family] = ready_family(problem)
    except BadInput as error:
        _send(lines, {"bad": str(error)})
        return
    _send(lines, {"ready": True})  # loading is over: the first item's clock starts here
    for index, problem, reply in items:
        _limit_cpu(limit_s)
        verdict = judge_one(families[problem.family], problem, reply, lenient)
        _send(lines, {"index": index, **_plain(verdict)})


def judge_one(family: Family, problem: Problem, reply: Reply, lenient: bool) -> Verdict:
    """The family's verdict; whatever it raises becomes an ERROR that says what was raised."""
    try:
        verdict = family.score_lenient(problem, reply) if lenient else family.score(problem, reply)
    except (
        Exception,
        SystemExit,
    ) as error:  # a scorer may be anyone's code, and any failure of it is counted
        return Verdict(Outcome.ERROR, 0.0, detail=f"{type(error).__name__}: {error}")
    if not all(map(math.isfinite, (verdict.value, *verdict.parts.values()))):
        return Verdict(Outcome.ERROR, 0.0, detail=f"the scorer gave {verdict.value}, {dict(verdict.parts)}")
    return verdict


def _plain(verdict: Verdict) -> dict[str, Any]:
    parts = {name: float(value) for name, value in verdict.parts.items()}
    said, detail = verdict.said[:SAID_CHARS], verdict.detail[:DETAIL_CHARS]
    plain = {"outcome": verdict.outcome.value, "value": float(verdict.value), "parts": parts}
    return {**plain, "detail": detail, "said": said}


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """stdin and stdout under other numbers; a scorer's prints and reads go nowhere."""
    frames, lines = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    return frames, lines


def _send(lines: IO[bytes], message: dict[str, Any]) -> None:
    lines.write(json.dumps(message).encode() + b"\n")
    lines.flush()


def _limit_cpu(limit_s: float) -> None:
    """Far more than the parent grants: ends an orphan that hangs in C and so can't leave by itself."""
    used = time.process_time()
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + 4 * limit_s) + 60, hard))


def _leave_with_parent(parent: int) -> None:
    """A parent that was killed can't close its children: leave once someone else adopted us."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
