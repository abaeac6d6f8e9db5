"""A server in this process, with an engine that says what it is told to."""

import json
import time
from typing import Any

from scripted_engine import ScriptedEngine, house_of, serving
from shoestring.serve.house import House
from shoestring.serve.probe import Probe
from tiny import tiny_lm

LM = tiny_lm(window=4096)
LONG = "count "


def say(prompt: str, sample: int) -> str:
    """What the scripted model says, by the last user's turn."""
    asked = prompt.rpartition("<|im_start|>user\n")[2].partition("<|im_end|>")[0]
    if asked.startswith("say "):
        return asked.removeprefix("say ")
    if asked == "one is short":
        asked = f"{LONG}{900 if sample else 2}"
    if asked.startswith(LONG):
        return " ".join(str(i) for i in range(int(asked.split()[1])))
    if "tool_response" in prompt or "<|im_start|>tool" in prompt:
        return "It is 18 degrees."
    return f"<think>\nI add them up, way {sample}.\n</think>\nforty-two 漢🙂"


class Room:
    """A server and what is behind it."""

    def __init__(self, **settings: Any) -> None:
        self.engines: list[ScriptedEngine] = []
        self.lines: list[str] = []
        keys = settings.pop("keys", ())
        fault = settings.pop("fault", lambda text: "")

        def make() -> ScriptedEngine:
            self.engines.append(ScriptedEngine(LM, say, fault))
            return self.engines[-1]

        self.house: House = house_of(LM, make, keys, self.lines.append, **settings)
        self._serving = serving(self.house)

    def __enter__(self) -> "Room":
        self.probe: Probe = self._serving.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._serving.__exit__(*error)


def slow(engine: ScriptedEngine, seconds: float) -> None:
    """Each of its steps takes so long."""
    step = engine.step
    engine.step = lambda: (time.sleep(seconds), step())[1]  # type: ignore[method-assign]


def streamed_lines(probe: Probe, content: str, **fields: Any) -> list[bytes]:
    """A chat's stream as it comes, comments too."""
    body = json.dumps(probe.body(content, stream=True, **fields)).encode()
    connection, reply = probe._open(
        "POST", "/chat/completions", body, {"Content-Type": "application/json"}, False
    )
    try:
        return [line for line in reply.readlines() if line.strip()]
    finally:
        connection.close()


def wait_for(fine: Any, seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not fine():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
