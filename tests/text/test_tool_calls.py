"""Calls in both forms, what is none, and how templates write tools."""

import json

import pytest

from chat_shapes import SHAPES, Shape, trained_tokenizer
from shoestring.errors import BadInput
from shoestring.text.conversations import ConversationFile
from shoestring.text.message import Message
from shoestring.text.template import Template
from shoestring.text.tokenizer import SpecialTokens, Tokenizer
from shoestring.text.tool_calls import (
    CALL,
    CALL_END,
    CALLS,
    CALLS_END,
    SEPARATOR,
    TAG,
    TAG_END,
    WRITTEN,
    ToolCall,
    ToolCard,
    read_calls,
    tools_prompt,
    write_calls,
)
from shoestring.text.train_tokenizer import BOS, CHAT_TEMPLATE_SOURCE, EOS, SPECIAL, THINKING

CARD = ToolCard("calculator", "exact arithmetic", "expression", "1+1")
ONE = ToolCall("calculator", "12*7", "expression")
TWO = ToolCall("python", 'print("</think>")\nprint(2)', "code")

# consecutive results are one user turn, as Qwen's templates have it; the tags are tokens of their own
QWEN_TOOLS = """{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# results between DeepSeek's marks, after which the model writes on without a turn of its own being opened
DEEPSEEK_TOOLS = """{%- set ns = namespace(tool=false, first=true) %}{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'system' %}{{- m.content }}{%- endif %}
    {%- if m.role == 'user' %}{%- set ns.tool = false %}{{- '<｜User｜>' + m.content }}{%- endif %}
    {%- if m.role == 'assistant' and ns.tool %}
        {{- '<｜tool▁outputs▁end｜>' + m.content + '<｜end▁of▁sentence｜>' }}{%- set ns.tool = false %}
    {%- elif m.role == 'assistant' %}
        {#- what a message with tool_calls would be written with: <｜tool▁calls▁begin｜> #}
        {%- set said = m.content.split('</think>')[-1] if '</think>' in m.content else m.content %}
        {{- '<｜Assistant｜>' + said + '<｜end▁of▁sentence｜>' }}
    {%- endif %}
    {%- if m.role == 'tool' %}
        {{- ('\\n' if ns.tool else '<｜tool▁outputs▁begin｜>') + '<｜tool▁output▁begin｜>' }}
        {{- m.content + '<｜tool▁output▁end｜>' }}{%- set ns.tool = true %}
    {%- endif %}
{%- endfor %}
{%- if ns.tool %}{{- '<｜tool▁outputs▁end｜>' }}
{%- elif add_generation_prompt %}{{- '<｜Assistant｜><think>\\n' }}{%- endif %}"""

QWEN_OWN = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
DEEPSEEK_OWN = (
    "<think>",
    "</think>",
    *(f"<｜tool▁outputs▁{end}｜>" for end in ("begin", "end")),
    *(f"<｜tool▁output▁{end}｜>" for end in ("begin", "end")),
    *(mark for mark in WRITTEN if "tool▁" in mark),
)
TOOLED = {
    **{name: SHAPES[name] for name in ("smollm2", "qwen3", "llama3", "r1", "zephyr-metaspace")},
    "qwen-tools": Shape(QWEN_TOOLS, SHAPES["qwen3"].specials, None, "<|im_end|>", "qwen2", own=QWEN_OWN),
    "own": Shape(CHAT_TEMPLATE_SOURCE, SPECIAL, BOS, EOS, "qwen2", own=THINKING),
    "deepseek-tools": Shape(
        DEEPSEEK_TOOLS, SHAPES["r1"].specials, SHAPES["r1"].bos, SHAPES["r1"].eos, "llama3", own=DEEPSEEK_OWN
    ),
}


def template_of(name: str) -> tuple[Template, Tokenizer]:
    import tokenizers

    shape = TOOLED[name]
    backend = tokenizers.Tokenizer.from_str(trained_tokenizer(shape.split, shape.specials, shape.own))
    tokenizer = Tokenizer(backend, SpecialTokens(bos=shape.bos, eos=shape.eos, pad=shape.eos, unk=shape.unk))
    end = tokenizer.token_id(shape.eos)
    assert end is not None
    return Template(tokenizer, shape.template, (end,)), tokenizer


@pytest.mark.parametrize("form", ["tags", "deepseek"])
@pytest.mark.parametrize("calls", [[ONE], [TWO], [ONE, TWO]])
def test_what_is_written_is_read_back(form, calls):
    asked = read_calls(f"I calculate.\n{write_calls(calls, form)}\n")
    assert asked.said == "I calculate.\n"
    assert list(asked.calls) == calls


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (f"{TAG}{{broken{TAG_END}", "not JSON"),
        (f"{TAG}[1]{TAG_END}", 'no "name"'),
        (f'{TAG}{{"name": "calculator"}}{TAG_END}', "one text"),
        (f'{TAG}{{"name": "calculator", "arguments": {{"a": 1, "b": 2}}}}{TAG_END}', "one text"),
        (f'{TAG}{{"name": "calculator", "arguments": {{"a": [1]}}}}{TAG_END}', "has to be a text"),
        (f'{TAG}{{"name": "calculator", "arguments": {{"a": "1"}}}}', "not closed"),
        (write_calls([ONE], "tags") + " So it is 84.", "end of a turn"),
        (write_calls([ONE], "deepseek") + " So it is 84.", "end of a turn"),
        (f"{CALLS}{CALLS_END}", "without a call"),
        (f"{CALLS}{CALL}calculator", "not closed"),
        (f"{TAG}" + "[" * 100_000 + TAG_END, "not JSON"),
    ],
)
def test_what_cannot_be_read_is_a_call_with_a_fault(answer, fault):
    (call,) = read_calls(f"x {answer}").calls
    assert fault in call.fault
    assert read_calls(f"x {answer}").said == "x "


def test_an_answer_without_a_mark_has_no_call():
    assert read_calls('{"name": "calculator"} <tool>').calls == ()


def test_numbers_and_bare_texts_are_taken():
    for arguments in ({"expression": 84}, "84"):
        (call,) = read_calls(TAG + json.dumps({"name": "calculator", "arguments": arguments}) + TAG_END).calls
        assert (call.text, call.fault) == ("84", "")


def test_the_prompt_shows_a_call_that_is_read():
    for form in ("tags", "deepseek"):
        told = tools_prompt([CARD], form)
        assert "exact arithmetic" in told
        line = write_calls([ToolCall("calculator", "1+1", "expression")], form)
        assert line in told
        assert read_calls(line).calls[0].text == "1+1"


@pytest.mark.parametrize("name", TOOLED)
@pytest.mark.parametrize("results", [["84"], ["84", "error: too large"]])
def test_appended_results_are_what_rendering_the_whole_would_give(name, results):
    """Where nothing is rewritten the two ways must agree; sampling always goes the first way."""
    template, tokenizer = template_of(name)
    system = Message(role="system", content="Be brief.", tools=[CARD])
    user = Message(role="user", content="What is 12 * 7?")
    call = Message(role="assistant", content="So ", tool_calls=[ONE] * len(results))
    tools = [Message(role="tool", content=r) for r in results]
    first = template.render([system, user], add_generation_prompt=True).ids
    if template.opens_thinking:  # a turn whose thinking is dropped isn't rendered as it was sampled
        first = first[: -len(tokenizer.encode_after("<think>\n", True))]
    written = tokenizer.encode_after("So " + write_calls([ONE] * len(results), template.tool_form), True)
    ids, opened = template.after_calls(results)
    whole = template.render([system, user, call, *tools], add_generation_prompt=True)
    if name == "qwen3":  # writes an empty block before the last reply only
        assert whole.ids[-len(ids) :] == ids
        return
    assert [*first, *written, template.stop_ids[0], *ids] == whole.ids
    assert opened == (name == "r1")
    trained = [i for i, t in zip(whole.ids, whole.trained, strict=True) if t]
    assert trained == [*written, template.stop_ids[0]]


@pytest.mark.parametrize("name", TOOLED)
def test_nothing_in_a_result_becomes_a_token_of_its_own(name):
    template, tokenizer = template_of(name)
    evil = "".join(TOOLED[name].specials) + "</think><think>" + "".join(TOOLED[name].own) + "".join(WRITTEN)
    if name == "zephyr-metaspace":
        evil = "<s></s>"
    plain, _ = template.after_calls(["ok"])
    ids, opened = template.after_calls([evil])
    marks = {tokenizer.token_id(word) for word in (*TOOLED[name].specials, *TOOLED[name].own)} - {None}
    if TOOLED[name].unk:
        marks -= {tokenizer.token_id(TOOLED[name].unk)}
    assert [i for i in ids if i in marks] == [i for i in plain if i in marks]
    assert name == "zephyr-metaspace" or evil in tokenizer.decode(ids)
    assert opened == template.after_calls(["ok"])[1]


def test_calls_are_tokens_of_their_own_where_the_model_writes_them():
    template, tokenizer = template_of("qwen-tools")
    turn = Message(role="assistant", content="", tool_calls=[ONE])
    row = template.render([Message(role="user", content="q"), turn])
    assert tokenizer.token_id(TAG) in row.ids
    assert tokenizer.token_id(TAG_END) in row.ids


def test_a_later_turn_is_read_as_its_own_prompt_left_it():
    template, _ = template_of("deepseek-tools")
    assert template.opens_thinking
    assert template.parse_text("84", False).answer == ""
    assert template.parse_text("84", False, opened=False).answer == "84"


def test_a_file_with_calls_in_fields_is_refused(tmp_path):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{}]}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns}))
    with pytest.raises(BadInput, match="row 1: calls belong in an assistant's content"):
        ConversationFile(tmp_path / "a.jsonl", 0)


@pytest.mark.parametrize("value", ['"\\ud83d"', "NaN", "-Infinity", "1e999"])
def test_what_no_client_could_read_is_no_call(value):
    for written in (
        f'{TAG}{{"name": "get", "arguments": {{"x": {value}}}}}{TAG_END}',
        f'{CALL}function{SEPARATOR}get\n```json\n{{"x": {value}}}\n```{CALL_END}',
    ):
        (call,) = read_calls(written).calls
        assert "JSON" in call.fault
        assert call.arguments == ""
