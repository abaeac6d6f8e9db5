"""Ray is joined, or a small one started here, and left again."""

import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shoestring.cluster.workers import Workers
from shoestring.errors import BadInput, ShoestringError

LOCAL = "local"
KNOCK_S = 10.0
INSTALL = "pip install 'shoestring[cluster]'"


def the_ray() -> Any:
    """The module, imported when a cluster is asked for, no earlier. Raises BadInput where it is missing."""
    # before the import: nothing is sent to anybody, no GPU is hidden from a process that asked for none
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise BadInput(f"--cluster needs Ray, which is not installed: {INSTALL}") from None


@contextmanager
def ray_at(address: str, workers: Workers) -> Iterator[Any]:
    """The ray module, connected. `local`: a Ray of this machine alone, gone at the end; `auto` or HOST:PORT:
    one that runs. Raises BadInput where there is none."""
    ray = the_ray()
    if address.startswith("ray://"):
        raise BadInput(
            f"--cluster {address}: Ray Client is not for long work; run on a host of the cluster, or "
            "send the command there: ray job submit -- shoestring run RECIPE --cluster auto"
        )
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address == LOCAL:
        wanted = workers.cpus * (workers.generators + workers.trainers + workers.judges)
        cpus = max(os.cpu_count() or 1, int(wanted) + 1)
        size = int(workers.store_gib * 2**30)
        own = {"num_cpus": cpus, "object_store_memory": size, "include_dashboard": False}
        try:
            with _own_signals():
                ray.init(address=LOCAL, **own, **quiet)
        except Exception as error:  # whatever its processes met with: Ray has no class of its own for that
            ray.shutdown()
            raise ShoestringError(f"--cluster local: Ray did not start: {_short(error)}") from None
    else:
        try:
            _knock(address)
            with _own_signals():
                ray.init(address=address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            raise BadInput(
                f"--cluster {address}: no Ray answers there ({_short(error)}); "
                "start one with: ray start --head"
            ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and ends the process at once; who runs a stage saves first."""
    here = threading.current_thread() is threading.main_thread()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)} if here else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT: Ray would write a warning a second for some time."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_S).close()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
