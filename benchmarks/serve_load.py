"""A server under load: clients that ask, stream, hang up, read slowly, send too much and send nonsense.

    python benchmarks/serve_load.py --model smollm2-135m --clients 64 --seconds 300 --output load.json

Starts `shoestring serve` on a free port, keeps it busy, and lets it end by SIGTERM while as many clients ask
and stream. Counted: statuses by kind of client, replies that said nothing, places and requests left over
afterwards (from /metrics), memory every two seconds. Fails where anything but 503 of the 5xx came, a 200 was
empty or cut off, a place leaked or memory grew."""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoestring.run.environment import environment

MAX_BODY = 200_000
GROWTH = 1.10  # of memory, of the last quarter over the second
QUESTIONS = ("What is 17 + 25?", "Name three colours.", "Tell me about the sea.", "Count from 1 to 50.")


@dataclass
class Counts:
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    empty: int = 0
    tokens: int = 0
    first: list[float] = field(default_factory=list)

    def add(self, kind: str, status: str) -> None:
        self.statuses.setdefault(kind, Counter())[status] += 1


class Client:
    """One connection after the other, by hand, so that it can misbehave."""

    def __init__(self, port: int, counts: Counts, seed: int) -> None:
        self.port, self.counts, self.random = port, counts, random.Random(seed)

    async def run(self, until: float) -> None:
        kinds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.whole, 6),
            (self.stream, 8),
            (self.leave, 4),
            (self.read_slowly, 1),
            (self.send_too_much, 1),
            (self.send_nonsense, 2),
            (self.send_half, 1),
        ]
        while time.monotonic() < until:
            (kind,) = self.random.choices([k for k, _ in kinds], [w for _, w in kinds])
            try:
                async with asyncio.timeout(120):
                    await kind()
            except (OSError, asyncio.IncompleteReadError):
                self.counts.add(kind.__name__, "connection closed")
            except TimeoutError:
                self.counts.add(kind.__name__, "timed out")

    async def run_to_the_end(self) -> None:
        """Asks and streams until nobody listens any more."""
        while True:
            kind = self.random.choice((self.whole, self.stream))
            try:
                async with asyncio.timeout(120):
                    await kind()
            except ConnectionRefusedError:
                return
            except (OSError, asyncio.IncompleteReadError, IndexError):
                self.counts.add(kind.__name__, "closed unanswered")  # not taken yet when the socket closed
            except TimeoutError:
                self.counts.add(kind.__name__, "timed out")

    def body(self, **fields: Any) -> bytes:
        asked = self.random.choice(QUESTIONS)
        given = {
            "messages": [{"role": "user", "content": asked}],
            "max_tokens": self.random.choice((8, 32, 96)),
        }
        return json.dumps(given | fields).encode()

    async def ask(
        self, body: bytes, length: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        size = len(body) if length is None else length
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return reader, writer

    async def status(self, reader: asyncio.StreamReader) -> str:
        return (await reader.readline()).decode().split(" ")[1]

    async def whole(self) -> None:
        reader, writer = await self.ask(self.body())
        status = await self.status(reader)
        rest = await reader.read()
        writer.close()
        head, _, said = rest.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        ended = length is not None and len(said) == int(length[1])
        self.counts.add("whole", status if status != "200" or ended else "200 without an end")
        if status == "200" and ended:
            body = json.loads(said)
            self.counts.empty += not body["usage"]["completion_tokens"]
            self.counts.tokens += body["usage"]["completion_tokens"]

    async def stream(self) -> None:
        start = time.monotonic()
        reader, writer = await self.ask(self.body(stream=True, stream_options={"include_usage": True}))
        status = await self.status(reader)
        said = done = False
        async for line in reader:
            if b'"delta"' in line and not said:
                said = True
                self.counts.first.append(time.monotonic() - start)
            if b'"usage":' in line and (found := re.search(rb'"completion_tokens":(\d+)', line)):
                self.counts.tokens += int(found[1])
            done = done or b"[DONE]" in line
        writer.close()
        self.counts.add("stream", status if status != "200" or done else "200 without an end")
        self.counts.empty += status == "200" and not said

    async def leave(self) -> None:
        reader, writer = await self.ask(self.body(stream=True, max_tokens=400))
        status = await self.status(reader)
        for _ in range(self.random.randrange(12)):
            await reader.readline()
        writer.transport.abort()
        self.counts.add("leave", status)

    async def read_slowly(self) -> None:
        reader, writer = await self.ask(self.body(stream=True, logprobs=True, top_logprobs=5, max_tokens=200))
        status = await self.status(reader)
        for _ in range(40):
            if not await reader.read(64):
                break
            await asyncio.sleep(0.1)
        writer.transport.abort()
        self.counts.add("read_slowly", status)

    async def send_too_much(self) -> None:
        reader, writer = await self.ask(
            self.body(messages=[{"role": "user", "content": "x" * (2 * MAX_BODY)}])
        )
        self.counts.add("send_too_much", await self.status(reader))
        writer.close()

    async def send_nonsense(self) -> None:
        bad = self.random.choice(
            (b"{", b"[]", b"\xff\xfe", b"[" * 50_000, self.body(temperature="hot"), self.body(n=0), b"")
        )
        reader, writer = await self.ask(bad)
        self.counts.add("send_nonsense", await self.status(reader))
        writer.close()

    async def send_half(self) -> None:
        body = self.body()
        _, writer = await self.ask(body[: len(body) // 2], len(body))
        await asyncio.sleep(0.2)
        writer.transport.abort()
        self.counts.add("send_half", "left")


def memory_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def get(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    return text


def gauges(text: str) -> dict[str, float]:
    wanted = ("num_requests_running", "num_requests_waiting", "num_samples_running", "kv_cache_usage_perc")
    found = re.findall(r"^shoestring:(\w+)\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if name in wanted}


async def load(port: int, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    counts, memory = Counts(), []
    until = time.monotonic() + seconds
    work = [asyncio.create_task(Client(port, counts, seed).run(until)) for seed in range(clients)]
    while time.monotonic() < until:
        memory.append(memory_mib(pid))
        await asyncio.sleep(2)
    await asyncio.gather(*work)
    left: dict[str, float] = {}
    for _ in range(50):  # those that left are noticed within a step
        left = gauges(await get(port, "/metrics"))
        if not any(left.values()):
            break
        await asyncio.sleep(0.1)
    memory.append(memory_mib(pid))
    first = sorted(counts.first)
    return {
        "clients": clients,
        "seconds": seconds,
        "statuses": {kind: dict(found) for kind, found in sorted(counts.statuses.items())},
        "requests": sum(sum(found.values()) for found in counts.statuses.values()),
        "empty_200": counts.empty,
        "completion_tokens": counts.tokens,
        "first_token_s": {"median": first[len(first) // 2], "p95": first[int(0.95 * len(first))]}
        if first
        else {},
        "left_over": left,
        "memory_mib": [round(m, 1) for m in memory],
    }


async def end(port: int, server: subprocess.Popen[str], clients: int) -> dict[str, Any]:
    """SIGTERM while all `clients` ask -> statuses from then on, as they came."""
    counts = Counts()
    work = [asyncio.create_task(Client(port, counts, seed).run_to_the_end()) for seed in range(clients)]
    await asyncio.sleep(5)
    counts.statuses.clear()
    server.send_signal(signal.SIGTERM)
    await asyncio.gather(*work)
    return {kind: dict(found) for kind, found in sorted(counts.statuses.items())}


def faults(found: dict[str, Any]) -> list[str]:
    """What must not be."""
    wrong = []
    for when in ("statuses", "statuses_at_the_end"):
        for kind, statuses in found.get(when, {}).items():
            bad = [
                s
                for s in statuses
                if (s.startswith("5") and s != "503") or s.startswith("200 ") or s == "timed out"
            ]
            wrong += [f"{kind}: {statuses[s]} times {s}" for s in bad]
    if found["empty_200"]:
        wrong.append(f"{found['empty_200']} empty 200")
    wrong += [f"{name} is {value}" for name, value in found["left_over"].items() if value]
    memory = found["memory_mib"]
    quarter = len(memory) // 4
    if quarter:
        before, after = (sum(part) / len(part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
        found["memory_growth"] = round(after / before, 3)
        if after > GROWTH * before:
            wrong.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--running", type=int, default=32, help="samples that the server runs at once")
    parser.add_argument("--cache-gib", type=float, default=0.3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    # a cache that is full soon, or memory would grow for as long as there are new prompts to keep
    sets = [f"max_running={args.running}", "max_waiting=16", f"cache_gib={args.cache_gib}"]
    sets += [f"max_body_bytes={MAX_BODY}", "log_requests=false", "stall_seconds=5", "drain_seconds=10"]
    command = [sys.executable, "-m", "shoestring", "serve", args.model, "--port", "0"]
    command += [word for s in sets for word in ("--set", s)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        line = next((line for line in server.stderr if line.startswith("http://")), "")
        port = int(line.rpartition(":")[2].partition("/")[0])
        # what the server says of faults: a pipe that nobody reads is full soon, and it would wait for it
        threading.Thread(
            target=lambda err: sys.stderr.writelines(err), args=[server.stderr], daemon=True
        ).start()
        found = asyncio.run(load(port, server.pid, args.clients, args.seconds))
        found["statuses_at_the_end"] = asyncio.run(end(port, server, args.clients))
        wrong = faults(found)
        found["exit_code"] = server.wait(30)
        if found["exit_code"]:
            wrong.append(f"exit code {found['exit_code']}")
    finally:
        server.kill()
    found = {
        "machine": environment(),
        "model": args.model,
        "running": args.running,
        "cache_gib": args.cache_gib,
        **found,
        "faults": wrong,
    }
    print(json.dumps(found, indent=2))
    if args.output is not None:
        args.output.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
