"""Chunks and events: one kind each, nothing lost, nothing broken off."""

import json

from hypothesis import given
from hypothesis import strategies as st

from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.serve import stream
from shoestring.serve.choice import Choice
from shoestring.serve.guides import Steered
from shoestring.serve.limits import Limits
from shoestring.serve.logprobs import Spell
from shoestring.serve.plan import Plan
from shoestring.serve.reader import Delta
from shoestring.serve.shape import Shape
from shoestring.serve.thinking import How
from tiny import tiny_lm

LM = tiny_lm()
HOW = How(LM.tokenizer, frozenset(LM.template.stop_ids), any_newlines=False)
STOP_ID = LM.template.stop_ids[0]


def made(
    text: str, chunks: list[int], logprobs: int | None = None
) -> tuple[Shape, Choice, list[list[Delta]]]:
    plan = Plan(
        [[1, 2]], SamplingParams(), Limits(99), [Steered()], "undecided", logprobs=logprobs, fields="both"
    )
    shape, choice = Shape(plan, "tiny", "fp_1", Spell(LM.tokenizer)), Choice(0, plan, HOW)
    ids, told, at = [*LM.tokenizer.encode(text), STOP_ID], [], 0
    for size in [*chunks, len(ids)]:
        part = ids[at : at + size]
        at += size
        told.append(choice.take(part, [-1.0] * len(part), []))
    told.append(choice.end(Completion(ids, [], "raw", FinishReason.STOP, 0)))
    return shape, choice, told


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "\n", "a", "🙂", "</", "漢"]), max_size=9).map("".join),
    st.lists(st.integers(0, 5), max_size=15),
)
def test_chunks_laid_together_are_the_whole(text: str, chunks: list[int]) -> None:
    shape, choice, told = made(text, chunks, logprobs=0)
    bodies = [json.loads(c) for deltas in told for c in shape.chunks(choice, deltas)]
    said = [body["choices"][0]["delta"] for body in bodies]
    whole = shape.whole([choice], [[d for deltas in told for d in deltas]], {})["choices"][0]
    assert "".join(d.get("content", "") for d in said) == whole["message"]["content"]
    assert "".join(d.get("reasoning", "") for d in said) == whole["message"].get("reasoning", "")
    assert not any("content" in d and "reasoning_content" in d for d in said)
    assert [i for i, d in enumerate(said) if "role" in d] == ([0] if said else [])
    entries = [
        e
        for b in bodies
        for kind in ("content", "reasoning_content")
        for e in (b["choices"][0]["logprobs"] or {}).get(kind, ())
    ]
    both = whole["logprobs"]["content"] + whole["logprobs"].get("reasoning_content", [])
    assert len(entries) == len(both) == len(choice.ids)
    last = json.loads(shape.last(choice))["choices"][0]
    assert (last["finish_reason"], last["finish_details"]) == (
        whole["finish_reason"],
        whole["finish_details"],
    )


def test_an_event_is_one_line() -> None:
    shape, choice, told = made("a\nb\r\u2028c", [])
    (chunk,) = shape.chunks(choice, [d for deltas in told for d in deltas])
    line = stream.event(chunk)
    assert line.count(b"\n") == 2
    assert b"\r" not in line
    assert json.loads(line[6:])["choices"][0]["delta"]["content"] == "a\nb\r\u2028c"


def test_a_comment_is_one_line() -> None:
    assert stream.comment("a\nb") == b": a b\n\n"


def test_bytes_of_part_of_a_character_are_told() -> None:
    spell = Spell(LM.tokenizer)
    ids = LM.tokenizer.encode("🙂")
    assert [byte for token in ids for byte in spell.bytes(token)] == list("🙂".encode())
    assert spell.bytes(STOP_ID) == list(b"<|im_end|>")
