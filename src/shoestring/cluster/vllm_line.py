"""The line to a server that listens on a file's socket: JSON both ways, and what a silence means."""

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

from shoestring.cluster.kept import Kept
from shoestring.cluster.lost import WorkerLost
from shoestring.errors import ShoestringError

POLL_S, HEALTH_S = 0.2, 5.0
ASKED_S = 3600.0  # of one answer; who asked has a shorter deadline for silence


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Line:
    """Raises WorkerLost where the server is gone, ShoestringError where it refuses."""

    def __init__(self, path: Path, server: Kept) -> None:
        self.path, self.server = path, server

    def wait_until_up(self, seconds: float) -> None:
        """Raises ShoestringError where it ends meanwhile, with its last word, or doesn't answer in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.server.runs:
                raise ShoestringError(f"vLLM's server ended as it started: {self.server.ending()}")
            try:
                if self._ask("GET", "/health", None, HEALTH_S)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(POLL_S)
        raise ShoestringError(f"vLLM's server did not answer within {seconds:g} s")

    def get(self, path: str) -> Any:
        return self._answer("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._answer("POST", path, body)

    def _answer(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            status, said = self._ask(method, path, body, ASKED_S)
        except (OSError, http.client.HTTPException) as error:
            time.sleep(POLL_S)  # for its exit code
            told = f"{type(error).__name__}: {error}" if self.server.runs else self.server.ending()
            raise WorkerLost(f"its vLLM server is gone: {told}") from None
        if status != 200:
            raise ShoestringError(f"vLLM's server refused {path} ({status}): {said.decode()[:300]}")
        return json.loads(said or b"null")

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float
    ) -> tuple[int, bytes]:
        connection = Connection(self.path, timeout_s)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()
