"""A tool's call as a model writes it, and how it is read: by this file alone, wherever a reply is read.

Two forms. `tags` fits any tokenizer and is what Qwen's models write:

    <tool_call>{"name": "calculator", "arguments": {"expression": "12*7"}}</tool_call>

`deepseek` has DeepSeek's own marks around a name and a fenced block of JSON, for templates that know them.
Both are read whatever the template. A call counts in the answer alone: thinking is text. See docs/tools.md.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Form = Literal["tags", "deepseek"]

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
TAG, TAG_END = "<tool_call>", "</tool_call>"
RESULT, RESULT_END = "<tool_response>", "</tool_response>"
WRITTEN = (TAG, TAG_END, CALLS, CALLS_END, CALL, CALL_END, SEPARATOR)  # what a model writes itself
MARK = re.compile("|".join(map(re.escape, (TAG, TAG_END, CALLS, CALL))))
ENDS = {TAG: TAG_END, CALL: CALL_END}
OPENS = re.compile("|".join(map(re.escape, ENDS)))
FENCED = re.compile(rf"(?:function)?{SEPARATOR}([^\n]*)\n```(?:json)?\n(.*)\n```\s*", re.DOTALL)


@dataclass(frozen=True)
class ToolCard:
    """What a model is told of a tool: it takes one text, its argument's name is `argument`. One that takes
    more has the JSON schema of its parameters in `schema`, and in `example` all arguments as JSON."""

    name: str
    description: str
    argument: str
    example: str
    schema: str = ""


@dataclass(frozen=True)
class ToolCall:
    """What a model asks for. `fault` says why it can't be read; it is empty for a call that can be run.
    `arguments` are all of them as a JSON object, where it is one, for tools that take more than one text."""

    name: str
    text: str
    argument: str = ""
    fault: str = ""
    arguments: str = field(default="", compare=False)


@dataclass(frozen=True)
class Asked:
    """An answer told apart: what was said before the first call, and the calls in their order."""

    said: str
    calls: tuple[ToolCall, ...]


def read_calls(answer: str) -> Asked:
    """A call that is not closed, not JSON, or followed by more text is one with a fault: the model is told so
    and nothing is run. Several in one turn are run in their order."""
    first = MARK.search(answer)
    if first is None:
        return Asked(answer, ())
    calls: list[ToolCall] = []
    at = first.start()
    while (begun := OPENS.search(answer, at)) is not None:
        closing = ENDS[begun[0]]
        inner, closed, _ = answer[begun.end() :].partition(closing)
        if not closed:
            calls.append(ToolCall("", "", fault=f"the call is not closed by {closing}"))
            at = len(answer)
            break
        calls.append(_tagged(inner) if begun[0] == TAG else _fenced(inner))
        at = begun.end() + len(inner) + len(closing)
    rest = answer[at:].replace(CALLS_END, "", 1).strip()
    if not calls:
        calls = [ToolCall("", "", fault=f"{first[0]} without a call")]
    elif rest:
        calls = [ToolCall("", "", fault="text after a call: a call has to be the end of a turn")]
    return Asked(answer[: first.start()], tuple(calls))


def read_json(text: str) -> Any:
    """What can be written again: Python's own reader takes NaN, numbers past a double's range and halves of
    surrogate pairs, which no client could read. Raises ValueError, or RecursionError."""
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _tagged(inner: str) -> ToolCall:
    try:
        value = read_json(inner)
    except (ValueError, RecursionError):
        return ToolCall("", "", fault="the call is not JSON")
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return ToolCall("", "", fault='the call has no "name"')
    return _call(value["name"], value.get("arguments"))


def _fenced(inner: str) -> ToolCall:
    found = FENCED.fullmatch(inner.strip())
    if found is None:
        return ToolCall("", "", fault="the call is not a name and a block of JSON")
    try:
        return _call(found[1].strip(), read_json(found[2]))
    except (ValueError, RecursionError):
        return ToolCall(found[1].strip(), "", fault="the arguments are not JSON")


def _call(name: str, arguments: Any) -> ToolCall:
    """arguments: {argument: text}; numbers are taken as they are spelled, and a bare text too."""
    if isinstance(arguments, str):
        return ToolCall(name, arguments)
    whole = json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else ""
    if not isinstance(arguments, dict) or len(arguments) != 1:
        return ToolCall(name, "", fault='"arguments" has to be an object with one text', arguments=whole)
    ((argument, text),) = arguments.items()
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return ToolCall(name, "", argument, f'"{argument}" has to be a text', whole)
    return ToolCall(name, str(text), argument, arguments=whole)


def write_calls(calls: Sequence[ToolCall], form: Form) -> str:
    """As a model is to write them; `read_calls` reads them back."""
    written = [(c.name, c.arguments or json.dumps({c.argument: c.text}, ensure_ascii=False)) for c in calls]
    if form == "tags":
        named = ((json.dumps(name, ensure_ascii=False), arguments) for name, arguments in written)
        return "\n".join(
            f'{TAG}{{"name": {name}, "arguments": {arguments}}}{TAG_END}' for name, arguments in named
        )
    bodies = (
        f"{CALL}function{SEPARATOR}{name}\n```json\n{arguments}\n```{CALL_END}" for name, arguments in written
    )
    return CALLS + "\n".join(bodies) + CALLS_END


def tools_prompt(cards: Sequence[ToolCard], form: Form) -> str:
    """What a system turn says of the tools."""
    listed = "\n".join(
        f"- {card.name}: {card.description}" + (f" (arguments: {card.schema})" if card.schema else "")
        for card in cards
    )
    examples = "\n".join(write_calls([_example(card)], form) for card in cards)
    return (
        f"You can use tools:\n{listed}\n"
        f"To use one, end your turn with a call, like this:\n{examples}\n"
        "The result comes back to you; then go on or answer."
    )


def _example(card: ToolCard) -> ToolCall:
    if card.schema:
        return ToolCall(card.name, "", arguments=card.example)
    return ToolCall(card.name, card.example, card.argument)
