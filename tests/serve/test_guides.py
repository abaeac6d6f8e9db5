"""What a server's own guides do: no end inside a thinking that owes an answer, and no guide that breaks the
engine."""

import pytest
from torch import Tensor

from shoestring.engine.engine import Engine
from shoestring.engine.guide import Steering
from shoestring.engine.guides import Reading
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.serve.guides import ANSWERED, FAILED, AnswerLimit, MustAnswer, Sealed
from tiny import tiny_lm

LM = tiny_lm()
STOP = LM.template.stop_ids[0]


def test_a_turn_that_owes_an_answer_doesnt_end_in_its_thinking() -> None:
    reading = Reading.with_state(LM.tokenizer, LM.template, "undecided")
    steering = MustAnswer(reading, LM.template.stop_ids, LM.config.vocab_size).start(0)
    seen = []
    for token in LM.tokenizer.encode("<think>a</think>\n b"):
        steering.take(token)
        mask = steering.allowed()
        seen.append(mask is None or bool(mask[STOP]))
    inside = len("<think>") - 1
    assert seen[:inside] == [True] * inside
    assert seen[inside:-1] == [False] * len("<a</think>\n ")  # white space says nothing yet
    assert seen[-1]


def test_a_form_says_itself_whether_its_answer_may_be_empty() -> None:
    reading = Reading.with_state(LM.tokenizer, LM.template, "thinking")
    steering = MustAnswer(reading, LM.template.stop_ids, LM.config.vocab_size, says=False).start(0)
    for token in LM.tokenizer.encode("a</think>"):
        assert steering.allowed() is not None
        steering.take(token)
    assert steering.allowed() is None


def test_a_reply_without_thinking_owes_nothing() -> None:
    reading = Reading.with_state(LM.tokenizer, LM.template, "undecided")
    steering = MustAnswer(reading, LM.template.stop_ids, LM.config.vocab_size).start(0)
    for token in LM.tokenizer.encode("\n hello"):
        assert steering.allowed() is None
        steering.take(token)


def test_an_answers_own_tokens_are_counted_from_its_first_word() -> None:
    reading = Reading.with_state(LM.tokenizer, LM.template, "thinking")
    steering, stops = AnswerLimit(reading, 3).start(0), []
    for token in LM.tokenizer.encode("long thought</think>\nabc"):
        steering.take(token)
        stops.append(steering.stop())
    assert stops == [""] * (len(stops) - 1) + [ANSWERED]


class Broken:
    """Fails where it is told to."""

    def __init__(self, at: str) -> None:
        self.at = at

    def start(self, sample: int) -> Steering:
        self._fail("start")
        return self

    def allowed(self) -> Tensor | None:
        self._fail("allowed")
        return None

    def forced(self) -> int | None:
        self._fail("forced")
        return None

    def take(self, token: int) -> None:
        self._fail("take")

    def stop(self) -> str:
        self._fail("stop")
        return ""

    def _fail(self, where: str) -> None:
        if where == self.at:
            raise ZeroDivisionError


@pytest.mark.parametrize("at", ["start", "allowed", "forced", "take", "stop"])
def test_a_guide_that_fails_ends_its_own_sequence_alone(at: str) -> None:
    engine, prompt = Engine(LM), LM.tokenizer.encode("abc")
    plain = SamplingParams(max_tokens=6, temperature=0, ignore_eos=True)
    alone = engine.generate([prompt], plain)[0][0].ids
    broken = SamplingParams(max_tokens=6, temperature=0, ignore_eos=True, guide=Sealed(Broken(at)))
    first, second = engine.submit(prompt, plain), engine.submit(prompt, broken)
    done = dict(engine.completed())
    assert done[first][0].ids == alone
    assert done[second][0].stopped_by == f"{FAILED}: ZeroDivisionError"
    assert done[second][0].finish_reason is FinishReason.STOP
