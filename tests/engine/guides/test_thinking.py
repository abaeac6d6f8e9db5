"""The budget closes the thinking and leaves room for an answer."""

import pytest

from guided import say
from shoestring.engine.engine import Engine
from shoestring.engine.guide import Guides
from shoestring.engine.guides.reading import Reading
from shoestring.engine.guides.stops import StopStrings
from shoestring.engine.guides.thinking import ThinkingBudget
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from tiny import tiny_lm

LM = tiny_lm()
CLOSING = len("\n</think>\n")  # a token a byte


def reading(state="thinking") -> Reading:
    return Reading.with_state(LM.tokenizer, LM.template, state)


def said(guide, text: str, limit: int) -> str:
    return say(guide, LM.tokenizer, LM.tokenizer.encode(text), limit).text


def test_after_its_budget_the_thinking_is_closed_and_the_answer_is_free():
    guide = ThinkingBudget(reading(), limit=60, budget=7)
    assert said(guide, "hmm ", 60) == "hmm hmm\n</think>\n" + (" hmm" * 11)[:43]
    assert guide.fired == {0: "budget"}


def test_a_budget_of_nothing_closes_at_once():
    guide = ThinkingBudget(reading(), limit=30, budget=0)
    assert said(guide, "x", 14) == "\n</think>\nxxxx"


def test_the_reserve_is_kept_for_the_answer():
    guide = ThinkingBudget(reading(), limit=30, budget=25, reserve=9)
    assert said(guide, "x", 30) == "x" * (30 - 9 - CLOSING) + "\n</think>\n" + "x" * 9
    assert guide.fired == {0: "reserve"}
    guide = ThinkingBudget(reading(), limit=30, reserve=30 - CLOSING)  # no room to think
    assert said(guide, "x", 30).startswith("\n</think>\n")


def test_who_closes_in_time_is_left_alone():
    guide = ThinkingBudget(reading(), limit=60, budget=12, reserve=5)
    text = "ok</think>" + "y" * 50
    assert said(guide, text, 60) == text[:60]
    assert guide.fired == {}


@pytest.mark.parametrize("state", ["undecided", "answer"])
def test_answers_are_not_thinking(state):
    guide = ThinkingBudget(reading(state), limit=40, budget=3, reserve=20)
    assert said(guide, "abc ", 40) == "abc " * 10
    assert guide.fired == {}


def test_a_thinking_that_the_reply_opens_is_held_to_the_budget_too():
    guide = ThinkingBudget(reading("undecided"), limit=60, budget=4)
    script = LM.tokenizer.encode("<think>" + "x" * 60)
    assert say(guide, LM.tokenizer, script, 30).text == "<think>xxxx\n</think>\n" + "x" * 9


def test_two_hundred_stubborn_replies_all_get_an_answer():
    """An engine with a model of random weights, which never closes its thinking by itself."""
    prompt = LM.tokenizer.encode("why?<think>")
    guide = ThinkingBudget(Reading.of(LM, prompt), limit=40, budget=15, reserve=10)
    params = SamplingParams(max_tokens=40, n=200, ignore_eos=True, guide=guide)
    (samples,) = Engine(LM).generate([prompt], params)
    for made in samples:
        reply = LM.template.parse_text(LM.tokenizer.decode(made.ids), made.cut, opened=True)
        assert len(made.ids) - 15 - CLOSING == 15
        assert reply.reasoning is not None
        assert len(LM.tokenizer.decode(made.ids).partition("</think>\n")[2]) > 0
    assert set(guide.fired.values()) == {"budget"}
    assert len(guide.fired) == 200


def test_two_that_close_at_once_close_once():
    both = [ThinkingBudget(reading(), limit=60, budget=n) for n in (8, 8)]
    assert said(Guides(both), "x", 30).count("</think>") == 1
    both = [ThinkingBudget(reading(), limit=60, budget=n) for n in (9, 8)]
    assert said(Guides(both), "x", 40) == "x" * 8 + "\n\n</think>\n" + "x" * 21  # in step after a newline


def test_stop_strings_wait_for_the_answer():
    guides = Guides([ThinkingBudget(reading(), 80, budget=20), StopStrings(reading(), ["9.8"])])
    found = say(guides, LM.tokenizer, LM.tokenizer.encode("g is 9.8 "), 80)
    assert found.text.count("9.8") == 3
    assert found.stopped_by == "stop string '9.8'"


def test_budgets_that_mean_nothing_are_refused():
    with pytest.raises(BadInput, match="at least 0"):
        ThinkingBudget(reading(), 50, budget=-1)
    with pytest.raises(BadInput, match=r"45 tokens can't be kept for the answer.*reply's 50"):
        ThinkingBudget(reading(), 50, reserve=45)
