"""A real llama.cpp server: `llama-server` on the PATH, or the package xllamacpp of this Python or of the one
that LLAMA_PYTHON names; what asks for one is skipped where there is none."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 2, 1
server = xllamacpp.Server(params)
sys.stdin.read()
"""


def command(model: Path, port: int) -> list[str] | None:
    binary, python = shutil.which("llama-server"), os.environ.get("LLAMA_PYTHON")
    if binary:
        return [binary, "-m", str(model), "--port", str(port), "-c", "2048", "-np", "2", "-t", "1"]
    if python is None and importlib.util.find_spec("xllamacpp"):
        python = sys.executable
    return None if python is None else [python, "-c", SERVE, str(model), str(port)]


@contextmanager
def llama_server(model: Path) -> Iterator[str]:
    """Its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = command(model, port)
    if start is None or not model.exists():
        pytest.skip("no llama.cpp server or no base here")
    server = subprocess.Popen(
        start, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, TimeoutError):
                assert server.poll() is None, "the server ended"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.kill()
        server.wait()
