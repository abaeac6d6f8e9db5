"""Replies of an evaluation that died."""

import pytest

from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.errors import Interrupted
from shoestring.evals.ask import ask_all
from shoestring.evals.partial import Partial
from tiny import Scripted, tiny_lm

PARAMS = SamplingParams(max_tokens=8, temperature=1.0, n=2)
KEYS = ["a", "b", "c"]


def texts(lm, several: list[list[Completion]]) -> list[list[str]]:
    return [[lm.tokenizer.decode(c.ids) for c in samples] for samples in several]


def test_what_was_made_is_not_asked_again(tmp_path):
    lm = tiny_lm()
    path = tmp_path / "p.jsonl"
    prompts = [lm.tokenizer.encode(key) for key in KEYS]
    say = Scripted(lm, lambda p, sample: f"{p}{sample}" if p != "b" else "long enough to be cut")

    def stop(done: int, total: int, tokens: int) -> None:
        if done == 2:
            raise Interrupted("stop")

    with pytest.raises(Interrupted):
        ask_all(say, prompts, PARAMS, KEYS, stop, Partial(path, "x"))
    path.write_text(path.read_text() + '{"key": "a", "samp')  # torn by a kill
    say.asked.clear()
    seen: list[int] = []
    again = Partial(path, "x")
    assert len(again) == 2
    found = ask_all(say, prompts, PARAMS, KEYS, lambda done, *_: seen.append(done), again)
    assert [text for text, _, _ in say.asked] == ["a"]
    assert seen == [3]
    whole = ask_all(say, prompts, PARAMS, KEYS, lambda *_: None)
    assert texts(lm, found) == texts(lm, whole)
    assert [[c.finish_reason for c in s] for s in found] == [[c.finish_reason for c in s] for s in whole]
    assert found[1][0].finish_reason is FinishReason.LENGTH
    say.asked.clear()
    ask_all(say, prompts, PARAMS, KEYS, lambda *_: None, Partial(path, "x"))
    assert say.asked == []


def test_of_other_settings_nothing_is_taken(tmp_path):
    path = tmp_path / "p.jsonl"
    Partial(path, "x").add("a", [Completion([1], [0.0], "raw", FinishReason.STOP, 0)])
    assert len(Partial(path, "x")) == 1
    assert len(Partial(path, "y")) == 0
    assert len(Partial(path, "x")) == 0
