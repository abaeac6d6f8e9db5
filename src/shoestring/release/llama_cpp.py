"""llama.cpp beside us: its server in a process of its own, asked over this machine's loopback. Either
`llama-server` or a Python that has the package xllamacpp, which is the same server."""

import http.client
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from shoestring.errors import BadInput, ShoestringError

START_S = 300.0  # a large file is read from disk first
ANSWER_S = 600.0
SHOWN = 64  # of the likeliest tokens the server is asked for
FORCED = 1e4  # added to a logit
PLAIN = {"temperature": 0, "repeat_penalty": 1.0, "cache_prompt": True}
SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
params.n_ctx, params.n_parallel = int(sys.argv[3]), 1
params.cpuparams.n_threads = int(sys.argv[4])
params.warmup, params.fit_params = False, False
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
if sys.argv[5] == "f32":
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(params)
sys.stdin.read()
"""
VERSION = "import importlib.metadata as m; print(m.version('xllamacpp'))"


@dataclass(frozen=True)
class LlamaCpp:
    """program: llama-server, or a Python with xllamacpp."""

    program: str
    is_python: bool

    @classmethod
    def find(cls, given: str | None) -> Self | None:
        """`given`: where it is; None: on the PATH or in this Python, if at all. Raises BadInput where what is
        given is neither."""
        if given is None:
            binary = shutil.which("llama-server")
            if binary:
                return cls(binary, False)
            return cls(sys.executable, True) if importlib.util.find_spec("xllamacpp") else None
        place = shutil.which(given)
        if place is None:
            raise BadInput(f"llama_cpp: no program {given}; give llama-server or a Python with xllamacpp")
        found = cls(place, Path(place).name.startswith("python"))
        if found.is_python and not found._run([place, "-c", VERSION]):
            raise BadInput(f"llama_cpp: {given} has no package xllamacpp: {given} -m pip install xllamacpp")
        return found

    def version(self) -> str:
        if self.is_python:
            return f"llama.cpp (xllamacpp {self._run([self.program, '-c', VERSION]) or 'unknown'})"
        lines = self._run([self.program, "--version"]).splitlines()
        told = next((line for line in lines if line.startswith("version")), "version unknown")
        return f"llama.cpp ({told})"

    @staticmethod
    def _run(command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""

    @contextmanager
    def serving(self, model: Path, window: int, threads: int, cache: str) -> Iterator["LlamaServer"]:
        """The model behind a free port until the block ends; cache: the keys' and values' type, f32 or f16.
        Raises ShoestringError with llama.cpp's last words where it doesn't load the file."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        said = model.with_name(f".{model.name}.llama.log")
        try:
            with said.open("wb") as log:
                server = subprocess.Popen(
                    self._command(model, port, window, threads, cache),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            try:
                yield LlamaServer(server, port, said).ready()
            finally:
                assert server.stdin is not None
                server.stdin.close()
                server.kill()
                server.wait()
        finally:
            said.unlink(missing_ok=True)

    def _command(self, model: Path, port: int, window: int, threads: int, cache: str) -> list[str]:
        if self.is_python:
            sizes = [str(window), str(threads), cache]
            return [self.program, "-c", SERVE, str(model), str(port), *sizes]
        command = [self.program, "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
        command += ["-c", str(window), "-np", "1", "-t", str(threads), "--no-warmup", "-fa", "off"]
        return [*command, "-ctk", cache, "-ctv", cache]


class LlamaServer:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int, said: Path) -> None:
        self.process, self.port, self.said = process, port, said

    def ready(self) -> Self:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise ShoestringError(f"llama.cpp doesn't load the file: {self._last_words()}")
            try:
                if self._ask("GET", "/health", None)[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.1)
        raise ShoestringError(f"llama.cpp wasn't ready after {START_S:.0f} s: {self._last_words()}")

    def tokenize(self, text: str) -> list[int]:
        """Special tokens that are spelled out in it are read as such."""
        body = {"content": text, "add_special": False, "parse_special": True}
        return self._post("/tokenize", body)["tokens"]

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """A conversation by the file's own chat template, with its generation prompt."""
        return self._post("/apply-template", {"messages": list(messages)})["prompt"]

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """At most `count` tokens, fewer where one ends the turn."""
        body = {"prompt": list(ids), "n_predict": count, "return_tokens": True}
        return list(self._post("/completion", body | PLAIN)["tokens"])

    def likeliest(self, ids: Sequence[int], told: int) -> dict[int, float]:
        """Logprobs of the likeliest tokens after `ids`. The server tells none with a token that is part of a
        character, so it is made to say `told`, a whole one; what it tells is from before that."""
        body = {"prompt": list(ids), "n_predict": 1, "n_probs": SHOWN, "logit_bias": [[told, FORCED]]}
        shown = self._post("/completion", body | PLAIN)["completion_probabilities"][0]
        return {top["id"]: top["logprob"] for top in shown["top_logprobs"]}

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        status, answer = self._ask("POST", path, body)
        if status != 200:
            raise ShoestringError(f"llama.cpp answers {path} with {status}: {answer[:300]!r}")
        return json.loads(answer)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _last_words(self) -> str:
        lines = self.said.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.strip() for line in lines if "error" in line.lower() or "failed" in line.lower()]
        return " / ".join(errors[:3] or [line.strip() for line in lines[-2:]])
