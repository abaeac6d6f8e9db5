"""llama.cpp's own llama-batched-bench, which reads prompts of random tokens and then makes random ones: what
its decoding takes without sampling. Tokens to compare come from its server."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from turns import Turns


def main() -> None:
    with Turns() as turns:
        spec = turns.spec
        folder, threads = Path(spec["binaries"]), str(spec["threads"])
        said = subprocess.run(
            [folder / "llama-server", "--version"], capture_output=True, text=True, check=False
        )
        lines = (said.stderr + said.stdout).splitlines()
        version = next((line for line in lines if line.startswith("version")), "unknown")
        turns.loaded({"llama.cpp": version}, spec["threads"])
        for turn in turns:
            prompts, new = turn["prompts"], turn["max_tokens"]
            if turn["want_ids"]:
                turns.answer(ids=served(folder, spec["model"], threads, prompts, new))
                continue
            longest = max(map(len, prompts))
            room = len(prompts) * (longest + new)
            command = [folder / "llama-batched-bench", "-m", spec["model"], "-t", threads, "-c", str(room)]
            command += ["-b", "2048", "-ub", "512", "-npp", str(longest), "-ntg", str(new)]
            command += ["-npl", str(len(prompts)), "--output-format", "jsonl"]
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
            found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            if not found:
                raise RuntimeError(f"llama-batched-bench said: {done.stderr.strip().splitlines()[-1:]}")
            read, made = found[-1]["t_pp"], found[-1]["t_tg"]
            turns.answer(first=read, seconds=read + made, tokens=new * len(prompts))


def served(folder: Path, model: str, threads: str, prompts: list, new: int) -> list:
    """Greedy tokens after each prompt, one prompt at a time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [folder / "llama-server", "-m", model, "-t", threads, "--port", str(port), "-np", "1"]
    command += ["-c", "2048", "--no-warmup"]
    environment = {**os.environ, "LLAMA_OFFLINE": "1"}
    server = subprocess.Popen([*map(str, command)], stdout=2, stderr=2, env=environment)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                time.sleep(0.2)
        return [_complete(port, ids, new) for ids in prompts]
    finally:
        server.kill()
        server.wait()


def _complete(port: int, ids: list, new: int) -> list:
    body = {"prompt": ids, "n_predict": new, "temperature": 0, "ignore_eos": True, "return_tokens": True}
    body |= {"cache_prompt": False}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.loads(reply.read())["tokens"]


if __name__ == "__main__":
    main()
