"""OpenAI's tools in a template's form and back."""

import json
from typing import Any

import pytest

from shoestring.engine.guides import Grammars
from shoestring.serve.errors import ApiError
from shoestring.serve.schema import ChatRequest, Function
from shoestring.serve.structure import tool_structure
from shoestring.serve.tools import ToolUse, call_grammar, cards, example, read, told, tool_use
from shoestring.text.tool_calls import CALLS, Form, ToolCall, read_calls, write_calls
from tiny import tiny_lm

ADD = Function(
    name="add",
    parameters={
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "unit": {"enum": ["m", "s"]},
            "o": {"properties": {"x": {}}},
        },
    },
)
NOW = Function(name="now")
STRICT = Function(
    name="add",
    strict=True,
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    },
)


def use(**fields: Any) -> ToolUse:
    tools = [{"type": "function", "function": {"name": name}} for name in ("add", "now")]
    asked = {"messages": [{"role": "user", "content": "q"}], "tools": tools, **fields}
    return tool_use(ChatRequest.model_validate_json(json.dumps(asked)))


@pytest.mark.parametrize("form", ["tags", "deepseek"])
def test_calls_with_any_arguments_are_read_back_as_written(form: Form) -> None:
    arguments = {"a": 1, "unit": "m", "o": {"x": [1, None, "漢"]}}
    calls = [ToolCall("add", "", arguments=json.dumps(arguments)), ToolCall("now", "", arguments="{}")]
    found = read(write_calls(calls, form), ToolUse((ADD, NOW)), cut=False)
    said = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in found.calls]
    assert said == [("add", arguments), ("now", {})]
    assert found.fault == ""


def test_calls_of_one_text_are_written_as_before() -> None:
    call = ToolCall("calculator", "12*7", "expression")
    assert write_calls([call], "tags") == (
        '<tool_call>{"name": "calculator", "arguments": {"expression": "12*7"}}</tool_call>'
    )
    assert read_calls(write_calls([call], "deepseek")).calls == (call,)


def test_arguments_in_a_string_are_read_too() -> None:
    text = '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>'
    assert read(text, ToolUse((ADD,)), cut=False).calls[0]["function"]["arguments"] == '{"a": 1}'


@pytest.mark.parametrize(
    ("text", "cut", "fault"),
    [
        ('<tool_call>{"name": "add", "arguments": [1]}</tool_call>', False, "object"),
        ('<tool_call>{"name": "add"}</tool_call>', False, "object"),
        ('<tool_call>{"name": "nothing", "arguments": {}}</tool_call>', False, "no tool 'nothing'"),
        ('<tool_call>{"name": "add", "argu', True, "cut inside a call"),
    ],
)
def test_a_call_that_cant_be_run_is_text(text: str, cut: bool, fault: str) -> None:
    found = read(text, ToolUse((ADD,)), cut)
    assert (found.said, found.calls) == (text, ())
    assert fault in found.fault


def test_examples_are_in_the_schemas_shape() -> None:
    assert example(ADD) == {"a": 1, "unit": "m", "o": {"x": "..."}}
    assert example(NOW) == {}
    assert json.loads(cards([ADD])[0].schema) == ADD.parameters


@pytest.mark.parametrize(
    ("fields", "names", "forced", "parallel"),
    [
        ({}, ["add", "now"], False, True),
        ({"tool_choice": "none"}, [], False, True),
        ({"tool_choice": "required", "parallel_tool_calls": False}, ["add", "now"], True, False),
        ({"tool_choice": {"type": "function", "function": {"name": "now"}}}, ["now"], True, False),
    ],
)
def test_the_choice_says_which_may_or_must_be_called(
    fields: dict[str, Any], names: list[str], forced: bool, parallel: bool
) -> None:
    found = use(**fields)
    assert ([f.name for f in found.functions], found.forced, found.parallel) == (names, forced, parallel)


def test_a_choice_that_isnt_there_is_refused() -> None:
    with pytest.raises(ApiError, match="no tool is called 'sub'"):
        use(tool_choice={"type": "function", "function": {"name": "sub"}})
    tools = [{"type": "function", "function": {"name": "add"}}] * 2
    with pytest.raises(ApiError, match="one name"):
        use(tools=tools)


def test_an_earlier_call_has_to_be_an_object() -> None:
    asked = {
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "add", "arguments": "[1]"}}
                ],
            }
        ]
    }
    calls = ChatRequest.model_validate_json(json.dumps(asked)).messages[0].tool_calls
    with pytest.raises(ApiError) as caught:
        told(calls or [], 3)
    assert caught.value.param == "messages.3.tool_calls.0.function.arguments"


def test_marks_that_are_special_tokens_are_matched_by_id() -> None:
    grammar = call_grammar(ToolUse((NOW,), forced=True), "deepseek", {CALLS: 7})
    assert grammar.splitlines()[0].startswith("start: <[7]> call")
    assert "<[7]>" in call_grammar(ToolUse((NOW,)), "deepseek", {CALLS: 7}).splitlines()[-3]


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    pytest.importorskip("llguidance")
    lm = tiny_lm()
    return Grammars(lm.tokenizer, lm.template.stop_ids, lm.config.vocab_size)


def fits(grammars: Grammars, use: ToolUse, form: Form, text: str) -> bool:
    """Whether the whole text may be written, and may end there."""
    matcher = grammars.matcher(grammars.compile("lark", call_grammar(use, form, {})))
    ids = grammars.tokenizer.encode(text)
    return matcher.validate_tokens(ids) == len(ids) and matcher.consume_tokens(ids) and matcher.is_accepting()


def call(name: str, arguments: str) -> ToolCall:
    return ToolCall(name, "", arguments=arguments)


@pytest.mark.parametrize("form", ["tags", "deepseek"])
def test_a_forced_call_is_all_that_may_be_written(grammars: Grammars, form: Form) -> None:
    one, two = call("now", "{}"), call("add", '{"a": 1}')
    forced = ToolUse((STRICT, NOW), forced=True)
    assert fits(grammars, forced, form, write_calls([one], form))
    assert fits(grammars, forced, form, write_calls([two, one], form))
    assert not fits(
        grammars, ToolUse((STRICT, NOW), True, parallel=False), form, write_calls([two, one], form)
    )
    assert not fits(grammars, forced, form, f"Well. {write_calls([one], form)}")
    assert not fits(grammars, forced, form, write_calls([call("add", '{"a": "x"}')], form))
    assert not fits(grammars, forced, form, write_calls([call("sub", "{}")], form))
    assert not fits(grammars, forced, form, "")


@pytest.mark.parametrize("form", ["tags", "deepseek"])
def test_a_free_answer_may_be_any_text_and_its_calls_are_held_to_their_schema(
    grammars: Grammars, form: Form
) -> None:
    free = ToolUse((STRICT, NOW))
    good, bad = write_calls([call("add", '{"a": 1}')], form), write_calls([call("add", '{"a": "x"}')], form)
    for text in ("", "hello <b> 1 < 2\n", good, f"I look.\n{good}"):
        assert fits(grammars, free, form, text), text
    for text in (bad, f"I look.\n{bad}", f"{good} and more"):
        assert not fits(grammars, free, form, text), text


def test_strict_functions_are_held_and_others_are_free() -> None:
    assert tool_structure(ToolUse((NOW,)), "tags", {}) is None
    assert tool_structure(ToolUse((STRICT,)), "tags", {}) is not None
    assert tool_structure(ToolUse((NOW,), forced=True), "tags", {}) is not None
    assert tool_structure(ToolUse(), "tags", {}) is None
