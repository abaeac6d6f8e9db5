"""A world of processes: each runs `work(world, *args)`; what they return comes back in the ranks' order."""

import multiprocessing
import pickle
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from shoestring.cluster.world import World

# a process that has imported everything and has run nothing: its children start at once, and autograd, which
# refuses to run in a child of a process where it ran before, runs in them
START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["shoestring.cluster.learner", "ranks_work", "faulthandler"])


class Died(Exception):
    """A process ended without a result."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(
    size: int,
    work: Callable[..., Any],
    *args: Any,
    expert: int = 1,
    deadline_s: float = 60.0,
    folder: Path = Path(tempfile.gettempdir()) / "ranks",
    allow: bool = False,
    device: str = "cpu",
    patience_s: float = 90.0,
) -> list[Any]:
    """allow: a rank's exception or exit code is its result instead of an end to the test."""
    port = free_port()
    processes, ends = [], []
    for rank in range(size):
        mine, theirs = START.Pipe(duplex=False)
        given = (theirs, rank, size, port, expert, device, deadline_s, folder, work, args)
        process = START.Process(target=_main, args=given, daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
        ends.append(mine)
    until = time.monotonic() + patience_s
    results = [_result(end, process, until) for end, process in zip(ends, processes, strict=True)]
    for process in processes:
        process.join(max(1.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    bad = [result for result in results if isinstance(result, BaseException)]
    if bad and not allow:
        raise bad[0]
    return results


def _result(end: Connection, process: Any, until: float) -> Any:
    try:
        if end.poll(max(0.0, until - time.monotonic())):
            return pickle.loads(end.recv_bytes())
        return Died("no answer in time")
    except EOFError:
        process.join(10)
        return Died(f"exit code {process.exitcode}")


def _send(end: Connection, result: Any) -> None:
    end.send_bytes(pickle.dumps(result))  # tensors by value: the sender is gone before they are read


def _main(
    end: Connection,
    rank: int,
    size: int,
    port: int,
    expert: int,
    device: str,
    deadline_s: float,
    folder: Path,
    work: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    import torch

    from shoestring.cluster.world import join, meet_at

    torch.set_num_threads(1)
    world: World | None = None
    try:
        store = meet_at(rank, size, "127.0.0.1", port, deadline_s)
        world = join(rank, size, store, expert, device, deadline_s, folder)
        _send(end, work(world, *args))
    except BaseException as error:
        error.add_note(traceback.format_exc())
        try:
            _send(end, error)
        except Exception:
            _send(end, Died(traceback.format_exc()))
        raise SystemExit(1) from None
    world.close()
