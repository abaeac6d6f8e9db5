"""Calls that a request forces, over HTTP, from a model of random weights: the grammar makes what comes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripted_engine import house_of, serving
from shoestring.engine.engine import Engine
from shoestring.serve.probe import Probe
from tiny import tiny_lm

pytest.importorskip("llguidance")

CITIES, DAYS = ["Oslo", "Bern"], [1, 2]


def function(name: str, **properties: Any) -> dict[str, Any]:
    form = {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": form}}


TOOLS = [function("weather", city={"enum": CITIES}), function("wait", days={"enum": DAYS})]


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    lm = tiny_lm(window=2048)
    with serving(house_of(lm, lambda: Engine(lm))) as found:
        yield found


def check(call: dict[str, Any]) -> str:
    name, arguments = call["name"], json.loads(call["arguments"])
    assert name in ("weather", "wait")
    key, allowed = ("city", CITIES) if name == "weather" else ("days", DAYS)
    assert [*arguments] == [key]
    assert arguments[key] in allowed
    return name


ASKED: dict[str, Any] = {"tools": TOOLS, "max_tokens": 600, "thinking": {"type": "disabled"}}


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_comes(probe: Probe, seed: int) -> None:
    choice = probe.choice("q", **ASKED, tool_choice="required", temperature=1, seed=seed)
    assert choice["finish_reason"] == "tool_calls", choice
    for call in choice["message"]["tool_calls"]:
        check(call["function"])


@pytest.mark.parametrize("name", ["weather", "wait"])
def test_a_named_call_is_the_one_that_was_named(probe: Probe, name: str) -> None:
    named = {"type": "function", "function": {"name": name}}
    choice = probe.choice("q", **ASKED, tool_choice=named, temperature=1, seed=5)
    (call,) = choice["message"]["tool_calls"]
    assert check(call["function"]) == name


def test_a_forced_call_comes_as_a_stream_too(probe: Probe) -> None:
    fields = {**ASKED, "tool_choice": "required", "parallel_tool_calls": False, "temperature": 1, "seed": 1}
    whole = probe.choice("q", **fields)["message"]["tool_calls"]
    streamed = probe.stream("q", **fields)
    parts = [part for delta in streamed.deltas() for part in delta.get("tool_calls") or ()]
    assert parts[0]["id"]
    assert {part["index"] for part in parts} == {0}
    name = "".join(part["function"].get("name") or "" for part in parts)
    arguments = "".join(part["function"].get("arguments") or "" for part in parts)
    assert (name, arguments) == (whole[0]["function"]["name"], whole[0]["function"]["arguments"])
    assert streamed.reasons() == ["tool_calls"]
