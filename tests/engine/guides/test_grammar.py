"""Grammars: the answer follows them, thinking is free, and what ends the grammar ends the turn."""

import json
import re

import pytest

from guided import say
from shoestring.engine.engine import Engine
from shoestring.engine.guide import Guides
from shoestring.engine.guides.grammar import GrammarGuide, Grammars
from shoestring.engine.guides.reading import Reading
from shoestring.engine.guides.thinking import ThinkingBudget
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.errors import BadInput
from tiny import tiny_lm

pytest.importorskip("llguidance")
LM = tiny_lm()
END = LM.template.stop_ids[0]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(LM.tokenizer, LM.template.stop_ids, LM.config.vocab_size)


def reading(state="answer") -> Reading:
    return Reading.with_state(LM.tokenizer, LM.template, state)


def said(guide, text: str, limit: int = 200) -> str:
    return say(guide, LM.tokenizer, LM.tokenizer.encode(text), limit, [END]).text


def test_what_follows_the_grammar_is_left_as_it_is(grammars):
    guide = GrammarGuide(grammars, reading(), "json", SCHEMA)
    whole = '{"name": "Ann", "age": 7}'
    assert said(guide, whole + "!!!") == whole + "<|im_end|>"


def test_a_model_of_random_weights_writes_valid_json(grammars):
    guide = GrammarGuide(grammars, reading(), "json", SCHEMA)
    params = SamplingParams(max_tokens=400, n=20, guide=guide, temperature=1.0)
    (samples,) = Engine(LM).generate([[5, 6, 7]], params)
    closed = [made for made in samples if made.finish_reason is FinishReason.STOP]
    assert len(closed) >= 10  # white space may fill the others
    for made in closed:
        assert made.ids[-1] == END
        found = json.loads(LM.tokenizer.decode(made.ids[:-1]))
        assert set(found) == {"name", "age"}
        assert 1 <= found["age"] <= 99
        assert all(p == p and p <= 0 for p in made.logprobs)


@pytest.mark.parametrize(
    ("kind", "grammar", "pattern"),
    [("regex", "[a-c]{3}-[0-9]+", "[a-c]{3}-[0-9]+"), ("lark", 'start: ("yes" | "no") "."', r"(yes|no)\.")],
)
def test_regular_expressions_and_lark(grammars, kind, grammar, pattern):
    guide = GrammarGuide(grammars, reading(), kind, grammar)
    (samples,) = Engine(LM).generate([[5, 6]], SamplingParams(max_tokens=300, n=8, guide=guide))
    for made in samples:
        text = LM.tokenizer.decode(made.ids).removesuffix("<|im_end|>")
        if made.finish_reason is FinishReason.STOP:
            assert re.fullmatch(pattern, text)
    assert any(made.finish_reason is FinishReason.STOP for made in samples)


def test_thinking_is_free_and_the_answer_is_held(grammars):
    guide = GrammarGuide(grammars, reading("thinking"), "regex", "[0-9]{2}")
    assert said(guide, "well, {x}?</think>\n12 or so") == "well, {x}?</think>\n12<|im_end|>"
    assert said(guide, "</think>99") == "</think>99<|im_end|>"
    assert said(guide, "</think>\n\n\n\n99") == "</think>\n\n00<|im_end|>"  # two newlines, no more


def test_a_budget_and_a_grammar_together(grammars):
    think = reading("thinking")
    guides = Guides([ThinkingBudget(think, 60, budget=9), GrammarGuide(grammars, think, "regex", "[0-9]{2}")])
    found = said(guides, "hm 4 2 ")
    assert re.fullmatch(r"hm 4 2 hm\n</think>\n[0-9]{2}<\|im_end\|>", found)


def test_who_has_not_decided_may_think_or_answer(grammars):
    guide = GrammarGuide(grammars, reading("undecided"), "regex", "[0-9]{2}|<b>")
    assert said(guide, "12 or") == "12<|im_end|>"
    assert said(guide, "<think>any thing</think>12") == "<think>any thing</think>12<|im_end|>"
    assert said(guide, "<b>") == "<b><|im_end|>"
    assert said(guide, "hello").startswith("0")  # neither


def test_an_optional_end_is_the_models_choice(grammars):
    guide = GrammarGuide(grammars, reading(), "regex", "[0-9]{1,3}")
    ids = [*LM.tokenizer.encode("12"), END]
    assert say(guide, LM.tokenizer, ids, 9, [END]).ids == ids
    assert said(guide, "12345") == "123<|im_end|>"


@pytest.mark.parametrize(
    ("kind", "grammar"),
    [("json", {"type": "nonsense"}), ("json", "{not json"), ("regex", "[a-"), ("lark", "start: missing")],
)
def test_what_is_no_grammar_is_refused(grammars, kind, grammar):
    with pytest.raises(BadInput, match=f"the {kind} grammar is not valid: ."):
        GrammarGuide(grammars, reading(), kind, grammar)


def test_a_model_without_an_end_is_refused():
    with pytest.raises(BadInput, match="a token that ends the answer"):
        Grammars(LM.tokenizer, (), LM.config.vocab_size)
