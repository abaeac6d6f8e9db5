"""Checks of what a reply is held to: JSON of a given form, and calls of tools."""

import json
from typing import Any

from shoestring.serve.conformance_basics import expect
from shoestring.serve.conformance_thinking import LONG, SUM
from shoestring.serve.probe import Json, Probe, Skipped

SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}, "why": {"type": "string", "maxLength": 40}},
    "required": ["sum", "why"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}
ASK = "How is the weather in Paris?"


def json_schema_holds(probe: Probe) -> None:
    """response_format json_schema: the content is JSON of that form, whatever was thought before."""
    got = probe.chat(SUM, max_tokens=LONG, response_format=FORMAT)
    choice = probe.taken(got, "json_schema")["choices"][0]
    if choice["finish_reason"] == "length":
        raise Skipped("cut before it was complete")
    value = json.loads(choice["message"]["content"])
    expect(isinstance(value["sum"], int) and isinstance(value["why"], str), str(value))


def json_object_holds(probe: Probe) -> None:
    """response_format json_object: the content is a JSON object."""
    got = probe.chat(
        "Give a JSON object with a colour.", max_tokens=LONG, response_format={"type": "json_object"}
    )
    choice = probe.taken(got, "json_object")["choices"][0]
    if choice["finish_reason"] == "length":
        raise Skipped("cut before it was complete")
    expect(isinstance(json.loads(choice["message"]["content"]), dict), choice["message"]["content"][:80])


def _called(choice: Json) -> list[Json]:
    calls = choice["message"].get("tool_calls") or []
    for call in calls:
        expect(bool(call["id"]) and call["type"] == "function", str(call))
        expect(isinstance(json.loads(call["function"]["arguments"]), dict), call["function"]["arguments"])
    return calls


def _tools(probe: Probe, **fields: Any) -> Json:
    got = probe.chat(ASK, max_tokens=LONG, tools=[WEATHER, TIME], **fields)
    return probe.taken(got, "tools")["choices"][0]


def required_tool_is_called(probe: Probe) -> None:
    """tool_choice required gives a call with JSON arguments, and finish_reason tool_calls."""
    choice = _tools(probe, tool_choice="required")
    if choice["finish_reason"] == "length":
        raise Skipped("cut before it was complete")
    expect(bool(_called(choice)) and choice["finish_reason"] == "tool_calls", choice["finish_reason"])


def named_tool_is_called(probe: Probe) -> None:
    """A named function is the one that is called."""
    choice = _tools(probe, tool_choice={"type": "function", "function": {"name": "get_time"}})
    if choice["finish_reason"] == "length":
        raise Skipped("cut before it was complete")
    names = [call["function"]["name"] for call in _called(choice)]
    expect(bool(names) and set(names) == {"get_time"}, str(names))


def no_tool_is_called(probe: Probe) -> None:
    """tool_choice none gives text."""
    expect(not _called(_tools(probe, tool_choice="none")), "it called")


def auto_tools_are_taken(probe: Probe) -> None:
    """tool_choice auto gives text or calls, in their shape."""
    choice = _tools(probe, tool_choice="auto")
    calls = _called(choice)
    expect(bool(calls) == (choice["finish_reason"] == "tool_calls"), choice["finish_reason"])


def tool_results_are_taken(probe: Probe) -> None:
    """A call and its result can be sent back."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
    }
    messages = [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
    ]
    probe.taken(probe.chat(messages=messages, tools=[WEATHER]), "tools")


def streamed_calls_fit_together(probe: Probe) -> None:
    """A stream's pieces of a call make one with a name and JSON arguments."""
    _tools(probe, tool_choice="required")
    found = probe.stream(ASK, max_tokens=LONG, tools=[WEATHER], tool_choice="required")
    if found.reasons() == ["length"]:
        raise Skipped("cut before it was complete")
    pieces = [p for d in found.deltas() for p in d.get("tool_calls") or () if p["index"] == 0]
    name = "".join(p["function"].get("name") or "" for p in pieces)
    arguments = "".join(p["function"].get("arguments") or "" for p in pieces)
    expect(name == "get_weather" and isinstance(json.loads(arguments), dict), f"{name} {arguments}")


CHECKS = (
    json_schema_holds,
    json_object_holds,
    required_tool_is_called,
    named_tool_is_called,
    no_tool_is_called,
    auto_tools_are_taken,
    tool_results_are_taken,
    streamed_calls_fit_together,
)
