"""Replies that go round in circles are ended; others aren't."""

import random
import time

import pytest

from guided import say
from shoestring.engine.guide import LOOP
from shoestring.engine.guides.loop import LoopGuard
from shoestring.engine.guides.reading import Reading
from shoestring.errors import BadInput
from tiny import tiny_lm

LM = tiny_lm()


def reading(state="answer") -> Reading:
    return Reading.with_state(LM.tokenizer, LM.template, state)


def words(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(97, 123), k=count)


@pytest.mark.parametrize("period", [1, 5, 18])
def test_a_loop_in_the_answer_ends_it(period):
    guide = LoopGuard(reading(), window=128)
    circle = words(period)
    found = say(guide, LM.tokenizer, words(50) + circle * 200, 1000)
    assert found.stopped_by == LOOP
    assert 50 + 128 * 0.8 < len(found.ids) < 50 + 2 * 128
    assert guide.fired == {0: "answer"}


def test_a_longer_circle_than_its_share_of_the_window_is_none():
    found = say(LoopGuard(reading(), window=128), LM.tokenizer, words(40), 1000)
    assert found.stopped_by == ""


def test_text_that_only_repeats_words_goes_on():
    rng = random.Random(1)
    lines = [LM.tokenizer.encode(f"| row {i} | {rng.random():.3f} | yes |\n") for i in range(60)]
    guide = LoopGuard(reading())
    assert say(guide, LM.tokenizer, [i for line in lines for i in line], 1500).stopped_by == ""
    assert guide.fired == {}


def test_a_loop_in_the_thinking_closes_it_and_one_in_the_answer_then_ends_it():
    guide = LoopGuard(reading("thinking"), window=64)
    found = say(guide, LM.tokenizer, LM.tokenizer.encode("wait, "), 1000)
    thought, _, answer = found.text.partition("\n</think>\n")
    assert set(thought.split(", ")[:-1]) == {"wait"}
    assert 64 < len(thought) < 128
    assert 64 < len(answer) < 128
    assert found.stopped_by == LOOP


def test_a_token_costs_the_same_however_long_the_reply():
    steering = LoopGuard(reading()).start(0)
    ids = words(60_000)

    def seconds(part: list[int]) -> float:
        start = time.process_time()
        for token in part:
            steering.take(token)
        return time.process_time() - start

    first, last = seconds(ids[:20_000]), seconds(ids[40_000:])
    assert last < 3 * first
    assert len(steering._counts) <= 512  # what it keeps is bounded


@pytest.mark.parametrize("bad", [{"window": 5}, {"ngram": 0}, {"share": 1.0}])
def test_guards_that_mean_nothing_are_refused(bad):
    with pytest.raises(BadInput, match="loop guard"):
        LoopGuard(reading(), **bad)
