"""`shoestring serve` in its own process, asked by raw connections that only count what comes: all streams at
once through /v1/completions, token ids in, events out.

What clients cost is not the server's, but they run on the same processors: one thread reads all sockets, and
of what comes it keeps the end."""

import json
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from turns import Turns

KEPT = 2000  # bytes of a reply's end: its usage stands there


@dataclass
class Reply:
    sent: socket.socket
    tail: bytes = b""
    first: float = 0.0  # when its first event came

    def take(self, piece: bytes) -> None:
        if not self.first and b"data: " in piece:
            self.first = time.perf_counter()
        self.tail = (self.tail + piece)[-KEPT:]

    @property
    def tokens(self) -> int:
        """As the server says."""
        return int(self.tail.rpartition(b'"completion_tokens":')[2].partition(b",")[0])


class Server:
    def __init__(self, spec: dict) -> None:
        sets = [f"max_running={spec['max_batch']}", f"cache_gib={spec['cache_gib']}", "log_requests=false"]
        sets += [f"dtype={spec['dtype']}", "max_prompts=4"]
        command = [sys.executable, "-m", "shoestring", "serve", spec["model"], "--port", "0"]
        command += [word for s in sets for word in ("--set", s)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = next((line for line in self.process.stderr if line.startswith("http://")), "")
        self.port = int(line.rpartition(":")[2].partition("/")[0])

    def ask(self, prompt: list, tokens: int) -> Reply:
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
        body["stream_options"] = {"include_usage": True}
        data = json.dumps(body).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(head.encode() + data)
        return Reply(connection)

    def all(self, prompts: list, tokens: int) -> list[Reply]:
        replies = [self.ask(ids, tokens) for ids in prompts]
        with selectors.DefaultSelector() as waiting:
            for reply in replies:
                waiting.register(reply.sent, selectors.EVENT_READ, reply)
            while waiting.get_map():
                for key, _ in waiting.select():
                    if piece := key.data.sent.recv(1 << 16):
                        key.data.take(piece)
                    else:
                        waiting.unregister(key.fileobj)
                        key.data.sent.close()
        return replies


def main() -> None:
    with Turns() as turns:
        server = Server(turns.spec)
        server.all(turns.spec["warmup"], 4)
        turns.ready("shoestring")
        for turn in turns:
            began = time.perf_counter()
            found = server.all(turn["prompts"], turn["max_tokens"])
            seconds = time.perf_counter() - began
            first = max(reply.first for reply in found) - began
            turns.answer(first=first, seconds=seconds, tokens=sum(reply.tokens for reply in found))


if __name__ == "__main__":
    main()
