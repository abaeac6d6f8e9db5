"""Stop strings: in the answer alone, however they are cut into tokens."""

import pytest

from guided import say
from shoestring.engine.engine import Engine
from shoestring.engine.guides.reading import Reading
from shoestring.engine.guides.stops import StopStrings, stop_at
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.errors import BadInput
from shoestring.text.template import Template
from tiny import CHATML, byte_tokenizer, tiny_lm

MERGES = (("E", "N"), ("EN", "D"), ("D", "."), ("Ċ", "Ċ"))
TOKENIZERS = (byte_tokenizer(), byte_tokenizer(MERGES[:1]), byte_tokenizer(MERGES))


def reading_of(tokenizer, state="answer") -> Reading:
    return Reading.with_state(tokenizer, Template(tokenizer, CHATML, (257,)), state)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(
    ("text", "stops", "upto", "stop"),
    [
        ("one END. two", ["END"], "one END", "END"),
        ("one ENEND. two", ["END"], "one ENEND", "END"),
        ("a\n\nb", ["\n\n", "b"], "a\n\n", "\n\n"),
        ("größer 好的 😀!", ["的 😀"], "größer 好的 😀", "的 😀"),
        ("abc", ["xyz"], "abc", ""),
        ("abcdef", ["cdef", "de"], "abcde", "de"),  # complete first
        ("abcd", ["cd", "bcd"], "abcd", "bcd"),  # together: the one that begins first
    ],
)
def test_the_first_complete_string_ends_it(tokenizer, text, stops, upto, stop):
    ids = tokenizer.encode(text)
    guide = StopStrings(reading_of(tokenizer), stops)
    found = say(guide, tokenizer, ids, len(ids))
    assert found.text.startswith(upto)
    assert len(found.text) < len(upto) + 3  # its last token may say more
    assert found.stopped_by == (f"stop string {stop!r}" if stop else "")
    assert guide.fired == ({0: stop} if stop else {})
    at, which = stop_at(found.text, stops)
    assert (found.text[:at], which) == (upto.removesuffix(stop) if stop else text, stop)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_thinking_may_say_them(tokenizer):
    ids = tokenizer.encode("the END is near\n</think>\nnot yet END. more")
    found = say(StopStrings(reading_of(tokenizer, "thinking"), ["END"]), tokenizer, ids, len(ids))
    assert found.text.startswith("the END is near\n</think>\nnot yet END")
    assert "more" not in found.text


def test_the_newlines_of_the_closing_tag_stop_nothing():
    tokenizer = TOKENIZERS[0]
    ids = tokenizer.encode("hm\n</think>\nyes\nno")
    found = say(StopStrings(reading_of(tokenizer, "thinking"), ["\n"]), tokenizer, ids, len(ids))
    assert found.text == "hm\n</think>\nyes\n"


def test_in_the_engine():
    lm = tiny_lm()
    params = SamplingParams(max_tokens=60, seed=1, ignore_eos=True, n=4)
    (plain,) = Engine(lm).generate([[5, 6]], params)
    text = lm.tokenizer.decode(plain[0].ids)
    stop = text[20:22]
    guide = StopStrings(Reading.of(lm, [5, 6]), [stop])
    (made,) = Engine(lm).generate(
        [[5, 6]], SamplingParams(max_tokens=60, seed=1, ignore_eos=True, n=4, guide=guide)
    )
    assert made[0].ids == plain[0].ids[: len(made[0].ids)]
    assert stop in lm.tokenizer.decode(made[0].ids)
    assert stop not in lm.tokenizer.decode(made[0].ids[:-1])
    assert (made[0].finish_reason, made[0].cut) == (FinishReason.STOP, False)
    for one, other in zip(made[1:], plain[1:], strict=True):
        assert one.ids == other.ids[: len(one.ids)]


def test_an_empty_string_is_refused():
    with pytest.raises(BadInput, match="empty stop string"):
        StopStrings(reading_of(TOKENIZERS[0]), ["a", ""])
