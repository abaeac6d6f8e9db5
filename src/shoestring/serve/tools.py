"""OpenAI's tools in the form of this model's template and back. What a call looks like, and how one is read,
is `text/tool_calls.py`'s; see docs/tools.md."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoestring.serve.errors import refused
from shoestring.serve.schema import Call, ChatRequest, Function, NamedTool
from shoestring.text.tool_calls import (
    CALL,
    CALL_END,
    CALLS,
    CALLS_END,
    SEPARATOR,
    TAG,
    TAG_END,
    Form,
    ToolCall,
    ToolCard,
    read_calls,
    read_json,
)

MAX_CALLS = 8  # in one turn that has to call: a small model may find no end
# llguidance's own key: no white space but after commas and colons, where small models find no end either
COMPACT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
EXAMPLES = {"string": "...", "integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None}


@dataclass(frozen=True)
class ToolUse:
    """What of a request's tools holds for its reply. `forced`: it has to call one of `functions`."""

    functions: tuple[Function, ...] = ()
    forced: bool = False
    parallel: bool = True

    @property
    def strict(self) -> bool:
        """Whether the arguments of a free call have to fit their schema."""
        return any(function.strict for function in self.functions)


def tool_use(request: ChatRequest) -> ToolUse:
    """Raises ApiError 400 where the choice doesn't fit the tools."""
    functions = tuple(tool.function for tool in request.tools or ())
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise refused("two tools have one name", "tools", "invalid_value")
    choice = request.tool_choice
    if not functions:
        if choice not in (None, "none"):
            raise refused("'tool_choice' needs 'tools'", "tool_choice", "invalid_value")
        return ToolUse()
    if choice == "none":
        return ToolUse()
    parallel = request.parallel_tool_calls is not False
    if isinstance(choice, NamedTool):
        wanted = tuple(f for f in functions if f.name == choice.function.name)
        if not wanted:
            raise refused(f"no tool is called '{choice.function.name}'", "tool_choice", "invalid_value")
        return ToolUse(wanted, forced=True, parallel=False)
    return ToolUse(functions, choice == "required", parallel)


def cards(functions: Sequence[Function]) -> list[ToolCard]:
    """What the model is told of them."""
    return [
        ToolCard(f.name, f.description or "no description", "", _text(example(f)), _text(schema_of(f)))
        for f in functions
    ]


def schema_of(function: Function) -> Mapping[str, Any]:
    """Of its arguments; a function without parameters takes an empty object."""
    return function.parameters or {"type": "object", "properties": {}, "additionalProperties": False}


def compact(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, its JSON to be written on one line."""
    return {"x-guidance": COMPACT, **schema}


def example(function: Function) -> dict[str, Any]:
    """Arguments in the schema's shape, to be shown."""
    properties = schema_of(function).get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {str(name): _example(value) for name, value in properties.items()}


def _example(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return "..."
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        inner = schema.get("properties")
        return {str(n): _example(v) for n, v in inner.items()} if isinstance(inner, Mapping) else {}
    return EXAMPLES.get(kind, "...") if isinstance(kind, str) else "..."


def told(calls: Sequence[Call], place: int) -> list[ToolCall]:
    """An earlier turn's calls, as the template takes them. Raises ApiError 400."""
    found = []
    for i, call in enumerate(calls):
        where = f"messages.{place}.tool_calls.{i}.function.arguments"
        try:
            arguments = read_json(call.function.arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise refused(f"'{where}' has to be a JSON object in a string", where, "invalid_value")
        found.append(ToolCall(call.function.name, "", arguments=_text(arguments)))
    return found


@dataclass(frozen=True)
class ReadCalls:
    """What an answer calls: OpenAI's form of each call, or why what looks like one is text after all."""

    said: str
    calls: tuple[dict[str, Any], ...] = ()
    fault: str = ""
    dropped: int = 0  # past the first, where calls may not be parallel


def read(answer: str, use: ToolUse, cut: bool) -> ReadCalls:
    """A call to a tool that isn't there, or whose arguments are no object, makes the whole answer text."""
    asked = read_calls(answer)
    if not asked.calls:
        return ReadCalls(answer)
    known = {function.name for function in use.functions}
    calls: list[dict[str, Any]] = []
    for call in asked.calls:
        arguments = call.arguments or _object_in(call.text)
        if arguments is None or (call.fault and not call.arguments):
            fault = "the reply was cut inside a call" if cut else call.fault or "the arguments are no object"
            return ReadCalls(answer, fault=fault)
        if call.name not in known:
            return ReadCalls(answer, fault=f"there is no tool '{call.name}'")
        calls.append(_openai(call.name, arguments))
    kept = calls if use.parallel else calls[:1]
    return ReadCalls(asked.said.rstrip(), tuple(kept), dropped=len(calls) - len(kept))


def _openai(name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _object_in(text: str) -> str | None:
    """Arguments that a model wrote as a string of JSON, as OpenAI's own form has them."""
    try:
        value = read_json(text)
    except (ValueError, RecursionError):
        return None
    return _text(value) if isinstance(value, dict) else None


@dataclass(frozen=True)
class Spelling:
    """How calls of one form are written: before all, before one, between name and arguments, ..."""

    opening: tuple[str, ...]
    before: tuple[str, ...]
    between: tuple[str, ...]
    after: tuple[str, ...]
    joint: str
    closing: tuple[str, ...]


SPELLINGS: dict[Form, Spelling] = {
    "tags": Spelling((), (TAG, '{"name": "'), ('", "arguments": ',), ("}", TAG_END), "\n", ()),
    "deepseek": Spelling(
        (CALLS,), (CALL, "function", SEPARATOR), ("\n```json\n",), ("\n```", CALL_END), "\n", (CALLS_END,)
    ),
}


def call_grammar(use: ToolUse, form: Form, special_ids: Mapping[str, int]) -> str:
    """Lark, as llguidance reads it, of an answer that calls, once or several times where that may be. One
    that is not forced may be any text instead, and any text may come before its calls. Marks that are special
    tokens are matched by id: their letters would be another text."""
    spelling = SPELLINGS[form]

    def marks(texts: Sequence[str]) -> str:
        return " ".join(f"<[{special_ids[t]}]>" if t in special_ids else json.dumps(t) for t in texts)

    first, *before = spelling.before
    numbers = range(len(use.functions))
    more = f"({json.dumps(spelling.joint)} call){{0,{MAX_CALLS - 1}}}" if use.parallel else ""
    begun, trigger = ("call", spelling.opening[0]) if spelling.opening else ("body", first)
    rest = f"{begun} {more} {marks(spelling.closing)}"
    rules = [
        f"start: {marks([trigger])} {rest}" if use.forced else f"start: TEXT | head {rest}",
        f"call: {marks([first])} body",
        "body: " + " | ".join(f"body{i}" for i in numbers),
    ]
    if not use.forced:  # lazy: the first mark ends the text, so that what comes after it is a call
        lazy = "" if trigger in special_ids else "[lazy]"
        rules += ["TEXT: /(.|\\n)*/", f"head{lazy}: TEXT {marks([trigger])}"]
    for i, f in enumerate(use.functions):
        named = f"{marks(before)} {json.dumps(f.name)} {marks(spelling.between)}"
        rules.append(f"body{i}: {named} arguments{i} {marks(spelling.after)}")
        rules.append(f"arguments{i}: %json {_text(compact(schema_of(f)))}")
    return "\n".join(rules)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
