"""IFEval: each of its 25 kinds, followed and not; strict and loose; what its files hold."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.ifeval import follows, revised
from shoestring.tasks.ifeval_checks import KINDS, count_sentences, count_words
from shoestring.tasks.suite import parse_suite, score, score_lenient
from shoestring.text.message import Reply

LESS, MORE = "less than", "at least"
GERMAN = "Das ist ein schöner Tag, und wir gehen zusammen in den Park am Fluss."
ENGLISH = "it is a lovely day and we are going to the park by the river together"
FOLLOWED = [
    ("keywords:existence", {"keywords": ["red", "boat"]}, "The Red boat.", "The red car."),
    ("keywords:frequency", {"keyword": "oak", "relation": MORE, "frequency": 2}, "Oak, oak.", "An oak."),
    ("keywords:frequency", {"keyword": "oak", "relation": LESS, "frequency": 2}, "An oak.", "Oak, oak."),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "A category.", "A cat."),
    ("keywords:letter_frequency", {"letter": "z", "let_relation": MORE, "let_frequency": 2}, "Zz", "z"),
    ("keywords:letter_frequency", {"letter": "!", "let_relation": LESS, "let_frequency": 1}, "a", "a!"),
    ("language:response_language", {"language": "de"}, GERMAN, ENGLISH),
    (
        "length_constraints:number_sentences",
        {"relation": LESS, "num_sentences": 3},
        "One. Two.",
        "One. Two! Three?",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"relation": MORE, "num_words": 3}, "one two three", "one two"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        'First.\n\n"Then, we went.',
        "First.\n\nWe then went.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] and [place]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi.\nP. S. More.", "Hi. PS More."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p.p.s more", "P.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n- b\n- c"),
    ("detectable_format:constrained_response", {}, "Well. My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* and * *"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1\na\nPart 2\nb",
        "Part 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "a: 1"),
    ("detectable_format:title", {}, "<<A day>>\nIt was.", "<< >>\nIt was."),
    ("combination:two_responses", {}, "One.\n******\nTwo.", "One.\n******\nOne."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. I did.", "I did. Say it."),
    ("startend:end_checker", {"end_phrase": "The end."}, '"It is the END."', "The end. Or not."),
    ("startend:quotation", {}, ' "All of it." ', '"Some" of it.'),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": LESS, "capital_frequency": 2},
        "A day.",
        "NOT TWO.",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
    ("change_case:english_lowercase", {}, ENGLISH, GERMAN.lower()),
    ("punctuation:no_comma", {}, "One and two.", "One, two."),
]


def test_all_25_kinds_are_here():
    assert len(KINDS) == 25
    assert {name for name, *_ in FOLLOWED} == set(KINDS)


@pytest.mark.parametrize(("name", "args", "yes", "no"), FOLLOWED)
def test_what_follows_and_what_does_not(name, args, yes, no):
    assert follows([yes], name, args)
    assert not follows([no], name, args)
    assert not follows(["  "], name, args)


def test_counting():
    assert count_sentences("Dr. Ada met Mr. Bob at 3 p.m. today. They spoke! Did they? e.g. so.") == 4
    assert count_sentences("One.\n\nTwo without an end\n\n") == 2
    assert count_sentences("3.5 is a number.") == 1
    assert count_words("It's well-known, isn't it?") == 7  # as \w+ counts them


@pytest.fixture
def problem(tmp_path):
    """As Parquet has it: every kind's arguments in every object."""
    empty = {"num_words": None, "relation": None, "keywords": None}
    row = {
        "key": 1000,
        "prompt": "Describe rain without a comma in at least 4 words.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [empty, {**empty, "num_words": 4.0, "relation": MORE}],
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "i.parquet")
    (found,) = draw_problems(parse_suite(f"ifeval:{tmp_path / 'i.parquet'}"), "test", 1, 0)
    return found


def test_strict_and_loose_by_prompt_and_by_instruction(problem):
    whole = score(problem, Reply("I, for one, think", "Rain is falling water."))
    assert (whole.outcome, whole.parts["loose"], whole.parts["followed"]) == (Outcome.RIGHT, 1.0, 2.0)
    loose = Reply(None, "Sure, here it is:\nRain is falling water.")
    strict = score(problem, loose)
    assert (strict.outcome, strict.detail) == (Outcome.WRONG, "not followed: punctuation:no_comma")
    assert strict.parts == {
        "strict": 0.0,
        "loose": 1.0,
        "instructions": 2.0,
        "followed": 1.0,
        "followed_loosely": 2.0,
    }
    assert score_lenient(problem, loose).outcome is Outcome.RIGHT
    assert score(problem, Reply("Rain is falling water.", " ")).outcome is Outcome.UNPARSED


def test_the_eight_readings():
    assert set(revised("a\n*b*\nc")) == {
        "a\n*b*\nc",
        "a\n*b*",
        "*b*\nc",
        "*b*",
        "a\nb\nc",
        "a\nb",
        "b\nc",
        "b",
    }
    assert len(revised("one line")) == 8


def test_a_file_in_json_lines(tmp_path):
    row = {"key": 1, "prompt": "Say yes.", "instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    path = tmp_path / "i.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = draw_problems(parse_suite(f"ifeval:{path}"), "test", 1, 0)
    assert found.prompt == "Say yes."
    assert score(found, Reply(None, '"Yes"')).outcome is Outcome.RIGHT
