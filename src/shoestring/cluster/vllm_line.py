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
SAMPLE_S = 3600.0  # of one sample, which may be long; meanwhile the server is asked whether it is there


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Line:
    """deadline_s: that the server may be silent. Raises WorkerLost where it is gone or silent for longer,
    ShoestringError where it refuses."""

    def __init__(self, path: Path, server: Kept, deadline_s: float) -> None:
        self.path, self.server, self.deadline_s = path, server, deadline_s
        self._knocked, self._silent_since = 0.0, 0.0  # 0: it isn't silent

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

    def knock(self) -> None:
        """While a sample is waited for: whether the server still answers at all. It may take HEALTH_S."""
        began, each = time.monotonic(), min(HEALTH_S, self.deadline_s / 4)
        if began - self._knocked < each:
            return
        try:
            self._ask("GET", "/health", None, each)
            self._silent_since = 0.0
        except (OSError, http.client.HTTPException):  # where it is gone its samples end by themselves
            self._silent_since = self._silent_since or began
            silent = time.monotonic() - self._silent_since
            if silent > self.deadline_s:
                raise WorkerLost(f"its vLLM server answered nothing for {silent:.1f} s") from None
        self._knocked = time.monotonic()

    def get(self, path: str) -> Any:
        return self._answer("GET", path, None, self.deadline_s)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._answer("POST", path, body, self.deadline_s)

    def sample(self, body: dict[str, Any]) -> Any:
        return self._answer("POST", "/inference/v1/generate", body, SAMPLE_S)

    def _answer(self, method: str, path: str, body: dict[str, Any] | None, within_s: float) -> Any:
        try:
            status, said = self._ask(method, path, body, within_s)
        except TimeoutError:
            raise WorkerLost(f"its vLLM server answered nothing to {path} for {within_s:g} s") from None
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
