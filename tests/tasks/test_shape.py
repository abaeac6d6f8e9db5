"""Format, language, length and repetition of a reply, by hand."""

import pytest

from shoestring.tasks.shape import (
    ends_in_loop,
    format_score,
    language_consistency,
    length_penalty,
    looks_gamed,
    repetition_score,
)
from shoestring.text.message import Reply

PROSE = (
    "Okay, so I need to add seventeen and five. Seventeen plus three makes twenty, which uses up three of "
    "the five, and two are left. Twenty plus two makes twenty two. Let me check by counting back from there: "
    "twenty two minus five gives seventeen again, as it should. So the total must be right."
)


@pytest.mark.parametrize(
    ("text", "opened", "score"),
    [
        ("<think>\n17+5=22\n</think>\n22", False, 1.0),
        ("17+5=22\n</think>\n22", True, 1.0),
        ("<think>a</think>\n<answer>22</answer>\n", False, 1.0),
        ("<think>a</think> So: <answer>22</answer>", False, 1.0),
        ("<think>\n</think>22", False, 0.5),  # nothing thought
        ("</think>22", True, 0.5),
        ("Hello. <think>a</think>22", False, 0.5),  # something before it
        ("<think>a</think><think>b</think>22", False, 0.5),  # twice
        ("<think>a<think>b</think>22", False, 0.5),  # nested
        ("<think>a</think></think>22", True, 0.5),
        ("<think>a</think><answer>1</answer><answer>2</answer>", False, 0.5),
        ("<think>a</think><answer>1", False, 0.5),
        ("<think>a</think><answer>1</answer> and more", False, 0.5),
        ("<think></think>" * 20 + "22", False, 0.25),  # empty, and often
        ("<think></think><think></think><answer>1", False, 0.125),
        ("<think>a", False, 0.0),  # never closed
        ("22", False, 0.0),
        ("a</think>22", False, 0.0),  # never opened
        ("<think>a</think>\n ", False, 0.0),  # no answer
        ("<think>a</think><answer></answer>", False, 0.0),
        ("<think></think>" * 20, False, 0.0),
        ("", True, 0.0),
    ],
)
def test_format(text, opened, score):
    assert format_score(text, opened) == score
    assert format_score(text, opened, cut=True) == 0.0


@pytest.mark.parametrize(
    ("text", "target", "score"),
    [
        (PROSE, "en", 1.0),
        (PROSE, "zh", 0.0),
        (PROSE, "", 1.0),  # a problem without words: the text's own language
        ("8+5=13\n13+3=16", "en", 1.0),  # figures are in any
        ("  \n", "en", 0.0),
    ],
)
def test_language(text, target, score):
    assert language_consistency(text, target) == score


@pytest.mark.parametrize(
    ("tokens", "penalty"), [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (100, -1.0), (130, -1.0)]
)
def test_length(tokens, penalty):
    assert length_penalty(tokens, cap=100, cache=20) == pytest.approx(penalty)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        (PROSE, 0.95, 1.0),
        ("yes yes yes", 1.0, 1.0),  # too short to say
        ("", 1.0, 1.0),
        ("a b c d e f g h. " * 2 + PROSE, 0.9, 0.98),  # 6 or so of some 80 four-grams were there before
        (PROSE * 2, 0.45, 0.55),  # all of it twice
        ("so the total is 22. " * 40, 0.0, 0.0),
        (PROSE + " wait," * 30, 0.0, 0.0),  # a good text that ends in a loop
        (PROSE + "0" * 700, 0.0, 0.0),
        (PROSE + " no no no", 0.95, 1.0),
        ("好的，我再检查一遍。" * 20, 0.0, 0.0),
        (
            "好的，我需要求十七和五的和。首先十七加三等于二十，然后再加二，所以答案是二十二，没有问题。",
            0.95,
            1.0,
        ),
    ],
)
def test_repetition(text, low, high):
    assert low <= repetition_score(text) <= high


def test_repetition_by_hand():
    # 26 tokens, 23 four-grams: "a b c d" is there twice, with nothing else the same
    tokens = "a b c d e f g h i j k l m n o p q r s t u v a b c d"
    assert repetition_score(tokens) == pytest.approx(22 / 23)


def test_a_loop_may_break_off_within_its_period():
    period = ["so", "it", "is", "nine", "and"]
    assert ends_in_loop(["x"] + period * 5 + period[:2])
    assert not ends_in_loop(period * 3)
    assert not ends_in_loop(PROSE.split())
    assert not ends_in_loop([])


@pytest.mark.parametrize(
    ("text", "opened", "reply", "gamed"),
    [
        ("<think>17+5=22</think>22", False, Reply("17+5=22", "22"), False),
        ("22", False, Reply(None, "22"), False),  # a model that doesn't think
        ("<think>\n</think>22", False, Reply("", "22"), True),
        ("</think>22", True, Reply(None, "22"), True),
        ("<think>a</think><think>b</think>22", False, Reply("a", "<think>b</think>22"), True),
        ("<think>a</think><answer>1</answer><answer>1</answer>", False, Reply("a", "x"), True),
        ("\\boxed{1} \\boxed{2}", False, Reply(None, "\\boxed{1} \\boxed{2}"), True),
        ("\\boxed{1}, so \\boxed{1}", False, Reply(None, "\\boxed{1}, so \\boxed{1}"), False),
    ],
)
def test_what_looks_gamed(text, opened, reply, gamed):
    assert looks_gamed(text, opened, reply) is gamed


def test_huge_replies_take_no_time():
    import time

    began = time.perf_counter()
    for text in ("<think>" * 20_000, "ab " * 40_000, "x" * 100_000, "好" * 100_000):
        format_score(text, False)
        repetition_score(text)
        language_consistency(text, "en")
    assert time.perf_counter() - began < 5.0
