"""Where in its reply a sequence is: from the state that the prompt left, however tags are cut into tokens."""

import itertools

import pytest

from chat_shapes import QWEN3, R1
from shoestring.engine.guides.reading import Reading
from shoestring.lm import LanguageModel
from shoestring.text.template import Template
from tiny import CHATML, byte_tokenizer, tiny_lm

TAGS = (("<", "t"), ("<", "/"), ("i", "n"), ("k", ">"), (">", "Ċ"))
TOKENIZERS = (byte_tokenizer(), byte_tokenizer(TAGS[:3]), byte_tokenizer(TAGS))


def reading_of(tokenizer, state, source=CHATML) -> Reading:
    return Reading.with_state(tokenizer, Template(tokenizer, source, (257,)), state)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(
    ("state", "reply", "answer"),
    [
        ("undecided", "<think>\nhm\n</think>\nyes 🙂 ja", "yes 🙂 ja"),
        ("undecided", "no <think> at all</think>.", "no <think> at all</think>."),
        ("undecided", "  <think>a</think>b", "b"),
        ("undecided", "<thank you>", "<thank you>"),
        ("thinking", "a < b </thin </think>\n\nyes</think>", "\nyes</think>"),
        ("thinking", "never closed", ""),
        ("answer", "<think>this is text</think>", "<think>this is text</think>"),
    ],
)
def test_the_answer_is_what_stands_outside_the_thinking(tokenizer, state, reply, answer):
    reader = reading_of(tokenizer, state).start()
    said = [reader.take(token) for token in tokenizer.encode(reply)]
    assert "".join(said) == answer
    assert reader.state == ("thinking" if reply == "never closed" else "answer")


def test_the_state_changes_with_the_tag():
    tokenizer = TOKENIZERS[0]
    reader = reading_of(tokenizer, "undecided").start()
    states = []
    for token in tokenizer.encode("<think>a</think>\nb"):
        reader.take(token)
        states.append(reader.state)
    runs = [(state, len(list(group))) for state, group in itertools.groupby(states)]
    assert runs == [("undecided", 6), ("thinking", 9), ("answer", 3)]


@pytest.mark.parametrize(
    ("source", "closing", "dropped"),
    [(CHATML, "\n</think>\n", "\n\n"), (QWEN3, "\n</think>\n\n", ""), (R1, "\n</think>\n", "")],
)
def test_the_thinking_ends_as_the_template_writes_it(source, closing, dropped):
    tokenizer = TOKENIZERS[0]
    reading = reading_of(tokenizer, "thinking", source)
    assert tokenizer.decode(reading.closing) == closing
    reader = reading.start()
    said = "".join(reader.take(token) for token in tokenizer.encode("a</think>\n\n\nb"))
    assert said == f"{dropped}b"


def test_a_tag_that_is_a_special_token_is_closed_by_its_id():
    tokenizer = byte_tokenizer(markers=("<|im_start|>", "<|im_end|>", "<pad>", "<think>", "</think>"))
    close = tokenizer.special_ids["</think>"]
    newline = tokenizer.encode("\n")
    reading = reading_of(tokenizer, "thinking")
    assert reading.closing == (*newline, close, *newline)
    reader = reading.start()
    assert [reader.take(token) for token in (*tokenizer.encode("a"), close, *tokenizer.encode("b"))][
        -1
    ] == "b"


@pytest.mark.parametrize(
    ("prompt", "state"),
    [
        ("a question", "undecided"),
        ("<think>?<|im_end|>assistant\n", "undecided"),
        ("assistant\n<think>", "thinking"),
        ("assistant\n<think>\n", "thinking"),
        ("assistant\n<think>\n\n</think>\n\n", "answer"),
    ],
)
def test_the_prompt_says_where_the_reply_begins(prompt, state):
    lm: LanguageModel = tiny_lm()
    assert Reading.of(lm, lm.tokenizer.encode(prompt)).state == state
