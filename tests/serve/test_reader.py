"""A reply in pieces is the reply, however its ids come."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.engine.guides import State
from shoestring.serve.reader import CallCut, Delta, ReplyReader, StopCut
from shoestring.serve.schema import Function
from shoestring.serve.thinking import How, ThinkingParser
from shoestring.serve.tools import ToolUse
from tiny import CHATML, tiny_lm

LM = tiny_lm(template=CHATML)
HOW = How(LM.tokenizer, frozenset(LM.template.stop_ids), any_newlines=False)
STOP_ID = LM.template.stop_ids[0]
USE = ToolUse((Function(name="add", parameters={"type": "object"}), Function(name="now")))
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'

pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "\n",
        "a",
        "stop",
        "sto",
        " ",
        "🙂",
        "漢",
        "<tool_call>",
        "<tool",
        CALL,
        "x<",
        "</",
    ]
)
texts = st.lists(pieces, max_size=12).map("".join)
states = st.sampled_from(get_args(State))


def read(
    ids: list[int], chunks: list[int], state: State, stops: tuple[str, ...], use: ToolUse
) -> ReplyReader:
    reader = ReplyReader(HOW, state, stops, use)
    told: list[Delta] = []
    at = 0
    for size in [*chunks, len(ids)]:
        told += reader.push(ids[at : at + size])
        at += size
    told += reader.finish(cut=False)
    reader.told = told  # type: ignore[attr-defined]
    return reader


def laid(reader: ReplyReader) -> tuple[str, str, list[tuple[str, str]], list[int]]:
    told: list[Delta] = reader.told  # type: ignore[attr-defined]
    text = {kind: "".join(d.text for d in told if d.kind == kind) for kind in ("reasoning", "content")}
    calls = [(c["function"]["name"], c["function"]["arguments"]) for d in told for c in d.calls]
    return text["reasoning"], text["content"], calls, sorted(t for d in told for t in d.tokens)


@given(texts, st.lists(st.integers(0, 7), max_size=20), states, st.booleans(), st.booleans())
def test_any_chunking_gives_the_same_reply(
    text: str, chunks: list[int], state: State, stop: bool, tools: bool
) -> None:
    ids = [*LM.tokenizer.encode(text), STOP_ID]
    stops, use = ("stop", "a\n") if stop else (), USE if tools else ToolUse()
    whole, cut = (read(ids, sizes, state, stops, use) for sizes in ([], chunks))
    assert laid(whole) == laid(cut)
    for count in ("reasoning_tokens", "answer_tokens", "thought", "thinking"):
        assert getattr(whole.parser, count) == getattr(cut.parser, count)


@given(texts, states)
def test_every_token_is_told_of_once(text: str, state: State) -> None:
    ids = [*LM.tokenizer.encode(text), STOP_ID]
    assert laid(read(ids, [1] * len(ids), state, (), ToolUse()))[3] == list(range(len(ids)))


@given(texts, st.sampled_from(["undecided", "thinking"]))
def test_pieces_are_what_the_template_reads(text: str, state: State) -> None:
    ids = LM.tokenizer.encode(text)
    reasoning, content, _, _ = laid(read(ids, [1] * len(ids), state, (), ToolUse()))
    said = LM.template.parse_text(LM.tokenizer.decode(ids), cut=False, opened=state == "thinking")
    assert (reasoning, content) == (said.reasoning or "", said.answer)


def test_the_state_of_the_prompt_decides() -> None:
    ids = LM.tokenizer.encode("four</think>4")
    assert laid(read(ids, [], "thinking", (), ToolUse()))[:2] == ("four", "4")
    assert laid(read(ids, [], "undecided", (), ToolUse()))[:2] == ("", "four</think>4")
    ids = LM.tokenizer.encode("<think>four</think>4")
    assert laid(read(ids, [], "undecided", (), ToolUse()))[:2] == ("four", "4")
    assert laid(read(ids, [], "answer", (), ToolUse()))[:2] == ("", "<think>four</think>4")


def test_tokens_are_counted_where_they_were_made() -> None:
    parser = ThinkingParser(HOW, "undecided")
    for token in [*LM.tokenizer.encode("<think>ab</think>cd"), STOP_ID]:
        parser.push(token)
    parser.flush()
    assert parser.reasoning_tokens == len("<think>ab</think>")  # a byte is a token here
    assert parser.answer_tokens == len("cd") + 1


def test_a_reply_cut_in_its_thinking_has_no_answer() -> None:
    reader = read(LM.tokenizer.encode("<think>one two"), [], "undecided", (), ToolUse())
    assert laid(reader)[:2] == ("one two", "")
    assert reader.parser.thinking


def test_stop_strings_leave_thinking_alone() -> None:
    ids = LM.tokenizer.encode("<think>a stop</think>b stop c")
    reader = read(ids, [1] * len(ids), "undecided", ("stop",), ToolUse())
    assert laid(reader)[:2] == ("a stop", "b ")
    assert reader.stopped == "stop"


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_the_stop_string_that_is_complete_first_wins(size: int) -> None:
    text, cut = "xabcd", StopCut(("abcd", "bc"))
    out = "".join(cut.push(text[i : i + size]) for i in range(0, len(text), size)) + cut.flush()
    assert (out, cut.found) == ("xa", "bc")


def test_no_piece_of_a_stop_string_is_shown() -> None:
    cut = StopCut(("END",))
    assert [cut.push(c) for c in "aENENx"] == ["a", "", "", "EN", "", "ENx"]
    assert [cut.push("EN"), cut.push("D!"), cut.flush(), cut.found] == ["", "", "", "END"]


def test_calls_are_told_when_they_are_whole() -> None:
    ids = LM.tokenizer.encode(f"I look.\n{CALL}")
    reader = read(ids, [1] * len(ids), "answer", (), USE)
    assert laid(reader)[:3] == ("", "I look.", [("add", '{"a": 1, "b": 2}')])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<tool_call>{nonsense</tool_call>", "not JSON"),
        (CALL.replace("add", "sub"), "no tool 'sub'"),
        (f"{CALL} and more", "text after a call"),
        ("<tool_call>", "not closed"),
    ],
)
def test_what_is_no_call_is_text_and_says_why(text: str, fault: str) -> None:
    reader = read(LM.tokenizer.encode(text), [], "answer", (), USE)
    assert laid(reader)[1:3] == (text, [])
    assert fault in reader.read.fault


def test_without_tools_a_call_is_text() -> None:
    assert laid(read(LM.tokenizer.encode(CALL), [], "answer", (), ToolUse()))[1:3] == (CALL, [])


def test_only_one_call_where_they_may_not_be_parallel() -> None:
    use = ToolUse(USE.functions, parallel=False)
    reader = read(LM.tokenizer.encode(f"{CALL}\n{CALL}"), [], "answer", (), use)
    assert len(reader.read.calls) == 1
    assert reader.read.dropped == 1


def test_what_may_become_a_mark_is_held_back() -> None:
    cut = CallCut(on=True)
    assert [cut.push(c) for c in ("a <", "to", "b", "  ")] == ["a", "", " <tob", ""]
    assert cut.rest() == "  "
