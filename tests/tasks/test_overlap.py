"""Rows that quote an evaluation are found, and a suite's common wording is no quotation."""

import json

import pytest

from shoestring.errors import BadInput
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.overlap import TestedTexts, file_prompts, held_out_prompts
from shoestring.tasks.suite import parse_suite

JANET = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her "
    "friends every day with four. How much in dollars does she make every day at the farmers' market?"
)


def against(*texts: str, words: int = 10) -> TestedTexts:
    found = TestedTexts(words)
    found.add("bench.jsonl", texts)
    return found


def test_a_quotation_inside_a_row_is_found():
    found = against("Something else that is long enough to be compared with, is it not?", JANET)
    said = found.found_in(f"Consider this: {JANET[40:140].upper()} and so on")
    assert said.startswith('shares "')
    assert said.endswith("with bench.jsonl #2")
    assert found.found_in("Janet's ducks lay 16 eggs, and nine words are shared here at most") == ""


def test_a_short_problem_counts_as_a_whole():
    found = against("What is 3 + 4?")
    assert found.found_in("what is  3 + 4 ?") == "is bench.jsonl #1"
    assert found.found_in("What is 3 + 4 + 5?") == ""
    assert found.found_in("") == ""


def test_a_whole_problem_inside_a_text_is_found_however_short_or_alike():
    found = against("What is 41 + 49 + 70?", "2 + 2?")
    said = found.found_in("Worked example. What is 41 + 49 + 70? It is 160.")
    assert said == 'has "what is 41 + 49 + 70 ?", which is bench.jsonl #1'
    assert found.found_in("What is 41 + 49 + 70 + 1?") == ""
    assert found.found_in("I ask: 2 + 2?") == ""  # so short that it says nothing
    asking = "Sort these numbers from the smallest to the largest one and write them in a row: {}, 5, 7"
    alike = against(*(asking.format(i) for i in range(10, 20)))
    assert alike.found_in(f"For instance: {asking.format(13)}. That is 5, 7, 13.").endswith("bench.jsonl #4")
    assert alike.found_in(f"For instance: {asking.format(23)}. That is 5, 7, 23.") == ""


def test_the_wording_of_a_suite_is_no_quotation():
    suite = parse_suite("letters")
    found = TestedTexts(10)
    found.add("letters", held_out_prompts(suite, 64, 0))
    assert found.texts == 64
    own = [problem.prompt for problem in draw_problems(suite, "test", 64, 0)]
    assert all(found.found_in(prompt).startswith("is letters #") for prompt in own)


@pytest.mark.parametrize("name", ["countdown", "letters", "clock", "change", "sorting", "compare"])
def test_training_problems_of_a_family_that_words_them_alike_are_kept(name):
    suite = parse_suite(name)
    found = TestedTexts(10)
    found.add(name, held_out_prompts(suite, 256, 0))
    train = [problem.prompt for problem in draw_problems(suite, "train", 200, 0)]
    assert sum(bool(found.found_in(prompt)) for prompt in train) <= 4


def test_a_level_with_few_held_out_problems():
    suite = parse_suite("sums:max_terms=2,max_digits=1")
    prompts = held_out_prompts(suite, 256, 0)
    assert 0 < len(prompts) < 20


def test_a_benchmarks_questions(tmp_path):
    path = tmp_path / "b.jsonl"
    rows = [{"question": JANET, "answer": "18"}, {"text": "no question"}, ["no row"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "not json\n")
    assert file_prompts(path) == [JANET]
    path.write_text('{"text": "no question"}\n')
    with pytest.raises(BadInput, match="no questions"):
        file_prompts(path)
    with pytest.raises(BadInput, match="no such benchmark"):
        file_prompts(tmp_path / "none.jsonl")
