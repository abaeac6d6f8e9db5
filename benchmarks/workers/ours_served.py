"""`shoestring serve` in its own process, asked by raw connections that only count what comes: all streams at
once through /v1/completions, token ids in, events out."""

import asyncio
import json
import subprocess
import sys
import time

from turns import Turns


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

    async def one(self, prompt: list, tokens: int) -> tuple[float, int]:
        """The time of the first event, and how many tokens the reply says it had."""
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
        body["stream_options"] = {"include_usage": True}
        data = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        first, tail = 0.0, b""
        while piece := await reader.read(1 << 16):
            first = first or (time.perf_counter() if b"data: " in piece else 0.0)
            tail = (tail + piece)[-2000:]
        writer.close()
        counted = tail.rpartition(b'"completion_tokens":')[2].partition(b",")[0]
        return first, int(counted)

    async def all(self, prompts: list, tokens: int) -> list[tuple[float, int]]:
        return await asyncio.gather(*(self.one(ids, tokens) for ids in prompts))


def main() -> None:
    with Turns() as turns:
        server = Server(turns.spec)
        asyncio.run(server.all(turns.spec["warmup"], 4))
        turns.ready("shoestring")
        for turn in turns:
            began = time.perf_counter()
            found = asyncio.run(server.all(turn["prompts"], turn["max_tokens"]))
            seconds = time.perf_counter() - began
            first = max(at for at, _ in found) - began
            turns.answer(first=first, seconds=seconds, tokens=sum(count for _, count in found))


if __name__ == "__main__":
    main()
