"""An OpenAI-compatible endpoint in a thread that answers in DeepSeek's shapes, injects faults and keeps a
ledger of what it would charge for."""

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-stub-4f1d"
# "429:0.05", "500", "402", "400", "cut", "malformed", "hang", "error200", "reset" (a stream's connection,
# after its finish_reason); "" for none
Fault = str | None
FIRST = {
    "id": "930c60df-bf64-41c9-a88e-3ec75f81e00e",
    "created": 1738000000,
    "model": "deepseek-reasoner",
    "system_fingerprint": "fp_5417b77867_prod0225",
}


def solve(prompt: str, number: int) -> tuple[str, str]:
    """A sum worked out: thinking and answer."""
    question = prompt.split("What is ")[1].split("?")[0]
    return f"we add {question} with care, way {number}", f"{eval(question)}"


class Stub:
    def __init__(self, say: Callable[[str, int], tuple[str, str]] = solve) -> None:
        self.say = say
        self.fault: Callable[[str, int], Fault] = lambda name, attempt: None  # request's name, from 1
        self.style = "reasoning_content"  # or "reasoning", "tags", "close"
        self.hang_s = 3.0
        self.keep_alive = True
        self.ledger: Counter[str] = Counter()  # delivered whole, by Idempotency-Key
        self.attempts: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.times: list[float] = []
        self.most_at_once = self._at_once = 0
        self.usage = True
        self.finish = "stop"
        self.cached = 0  # tokens of each prompt
        self.score: Callable[[str, dict[str, Any]], Any] | None = None
        self.score_fault: Callable[[int], Fault] = lambda number: None  # by request, from 1
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                stub.handle(self)

        class Server(ThreadingHTTPServer):
            request_queue_size = 64  # of 5, the default, a busy machine resets connections

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def handle(self, http: BaseHTTPRequestHandler) -> None:
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        name = http.headers["Idempotency-Key"] or ""
        with self._lock:
            self.attempts[name] += 1
            attempt = self.attempts[name]
            self.bodies.append(body)
            number = len(self.bodies)
            self.keys.add(http.headers["Authorization"])
            self.times.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.score is not None:
                whole = json.dumps(self.score(http.path, body)).encode()
                self.scored(http, whole, self.score_fault(number) or "")
            else:
                self.chat(http, body, name, self.fault(name, attempt) or "")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up
        finally:
            with self._lock:
                self._at_once -= 1

    def scored(self, http: BaseHTTPRequestHandler, whole: bytes, fault: str) -> None:
        code, _, wait = fault.partition(":")
        if code.isdigit():
            send(http, int(code), b'{"error": "no"}', {"Retry-After": wait} if wait else {})
        elif fault == "hang":
            time.sleep(self.hang_s)
        elif fault == "cut":
            send(http, 200, whole[: len(whole) // 2], length=len(whole))
        else:
            send(http, 200, whole[1:] if fault == "malformed" else whole)

    def chat(self, http: BaseHTTPRequestHandler, body: dict[str, Any], name: str, fault: str) -> None:
        code, _, wait = fault.partition(":")
        if code.isdigit():
            error = {"message": f"told {http.headers['Authorization']} no", "type": "stub", "code": code}
            send(
                http, int(code), json.dumps({"error": error}).encode(), {"Retry-After": wait} if wait else {}
            )
            return
        if fault == "hang":
            time.sleep(self.hang_s)
            return
        if fault == "error200":
            send(http, 200, b'{"error": {"message": "overloaded"}}')
            return
        number = int(name.rpartition("-")[2])
        thinking, answer = self.say(body["messages"][-1]["content"], number)
        usage = {
            "prompt_tokens": 20,
            "completion_tokens": 50,
            "total_tokens": 70,
            "prompt_cache_hit_tokens": self.cached,
            "prompt_cache_miss_tokens": 20 - self.cached,
            "completion_tokens_details": {"reasoning_tokens": 40},
        }
        whole = (
            self.stream(thinking, answer, usage) if body["stream"] else self.whole(thinking, answer, usage)
        )
        kind = "text/event-stream" if body["stream"] else "application/json"
        if fault == "cut":
            send(http, 200, whole[: len(whole) // 2], {"Content-Type": kind}, length=len(whole))
            return
        if fault == "malformed":
            send(http, 200, whole.replace(b'"choices"', b"choices"), {"Content-Type": kind})
            return
        with self._lock:
            self.ledger[name] += 1
        if fault == "reset":
            said = whole[: whole.index(b"\n\n", whole.index(b'"finish_reason": "stop"')) + 2]
            send(http, 200, said, {"Content-Type": kind}, length=len(whole))
            time.sleep(0.05)
            reset(http)
            return
        send(http, 200, whole, {"Content-Type": kind})

    def parts(self, thinking: str, answer: str) -> dict[str, str]:
        if self.style == "tags":
            return {"content": f"<think>\n{thinking}\n</think>\n\n{answer}"}
        if self.style == "close":
            return {"content": f"{thinking}\n</think>\n\n{answer}"}
        return {self.style: thinking, "content": answer}

    def whole(self, thinking: str, answer: str, usage: dict[str, Any]) -> bytes:
        message = {"role": "assistant", **self.parts(thinking, answer)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish}
        value = {**FIRST, "object": "chat.completion", "choices": [choice]}
        value |= {"usage": usage} if self.usage else {}
        return b"\n\n" * self.keep_alive + json.dumps(value).encode()

    def stream(self, thinking: str, answer: str, usage: dict[str, Any]) -> bytes:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None, "reasoning_content": ""}]
        for field, text in self.parts(thinking, answer).items():
            other = {"content": None} if field != "content" else {"reasoning_content": None}
            deltas += [{**other, field: text[i : i + 5]} for i in range(0, len(text), 5)]
        lines = [": keep-alive\n\n"] if self.keep_alive else []
        for i, delta in enumerate(deltas):
            last = i == len(deltas) - 1
            choice = {"index": 0, "delta": delta, "finish_reason": self.finish if last else None}
            value = {**FIRST, "object": "chat.completion.chunk", "choices": [choice], "usage": None}
            lines.append(f"data: {json.dumps(value)}\n\n")
        if self.usage:
            lines.append(f"data: {json.dumps({**FIRST, 'choices': [], 'usage': usage})}\n\n")
        return "".join([*lines, "data: [DONE]\n\n"]).encode()


def send(
    http: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> None:
    http.send_response(status)
    for key, value in (headers or {}).items():
        http.send_header(key, value)
    http.send_header("Content-Length", str(len(body) if length is None else length))
    http.end_headers()
    http.wfile.write(body)


def reset(http: BaseHTTPRequestHandler) -> None:
    """The connection ends by RST in place of FIN."""
    http.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    http.connection.close()
    http.close_connection = True


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    thread = threading.Thread(target=stub.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.server.shutdown()
        stub.server.server_close()
        thread.join()
