"""Two hosts on one machine: network namespaces joined by a virtual link, a Ray node in each."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEAD, OTHER = "10.77.0.1", "10.77.0.2"
PORT = 6399
TOKEN = secrets.token_hex(32)
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start"]


def permitted() -> bool:
    """Whether this user may make a network namespace."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], check=True)
    return made


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def linked() -> Iterator[tuple[str, str]]:
    """The names of two namespaces that see each other and nothing else."""
    a, b = f"host-a-{os.getpid()}", f"host-b-{os.getpid()}"
    try:
        for name in (a, b):
            ip("netns", "add", name)
        ip("link", "add", "veth-a", "netns", a, "type", "veth", "peer", "name", "veth-b", "netns", b)
        for name, link, address in ((a, "veth-a", HEAD), (b, "veth-b", OTHER)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield a, b
    finally:
        for name in (a, b):
            subprocess.run(["ip", "netns", "del", name], check=False)


def inside(name: str, command: list[str], **how) -> subprocess.Popen:
    """With a token of our own, by which Ray's processes know each other."""
    own = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    return subprocess.Popen(["ip", "netns", "exec", name, *command], start_new_session=True, env=own, **how)


def listens(name: str, node: subprocess.Popen) -> None:
    """Wait for the head's port: on a busy machine Ray takes a minute to start."""
    ask = f"import socket; socket.create_connection(('{HEAD}', {PORT}), 2)"
    for _ in range(120):
        assert node.poll() is None, "the head's Ray node didn't start"
        if inside(name, [sys.executable, "-c", ask], stderr=subprocess.DEVNULL).wait() == 0:
            return
        time.sleep(1)
    raise AssertionError("the head's Ray node doesn't listen")


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """(the head's namespace, the cluster's address). Each host has 2 CPU by Ray's count."""
    small = ["--num-cpus", "2", "--object-store-memory", "100000000", "--disable-usage-stats", "--block"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    # a short path: sockets lie in it, and their names may have 107 bytes
    with tempfile.TemporaryDirectory(prefix="r") as folder, linked() as (a, b):
        head = ["--head", "--node-ip-address", HEAD, "--port", str(PORT), "--include-dashboard", "false"]
        head += ["--temp-dir", folder]
        other = ["--address", f"{HEAD}:{PORT}", "--node-ip-address", OTHER]
        nodes = [inside(a, [*RAY, *head, *small], **quiet)]
        try:
            listens(a, nodes[0])
            nodes.append(inside(b, [*RAY, *other, *small], **quiet))
            time.sleep(15)  # it joins while the command starts, which waits for room
            assert nodes[1].poll() is None, "the second host's Ray node didn't start"
            yield a, f"{HEAD}:{PORT}"
        finally:
            for node in reversed(nodes):
                node.terminate()
                try:
                    node.wait(60)
                except subprocess.TimeoutExpired:
                    os.killpg(node.pid, signal.SIGKILL)
