"""Suites parse and print alike."""

import pytest

from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.suite import parse_suite, same_suites, score
from shoestring.text.message import Reply

TEXTS = [
    "sums",
    "sums:max_digits=1,max_terms=6,subtract=true",
    "equations:max_form=4",
    "countdown",
    "letters",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_suites_text_parses_back(text: str) -> None:
    suite = parse_suite(text)
    assert str(parse_suite(str(suite))) == str(suite)
    assert parse_suite(str(suite)) == suite
    assert {p.level for p in ProblemStream(suite, 0).take(3)} == {str(suite).partition(":")[2]}


def test_canonical_text_is_sorted_and_leaves_out_defaults() -> None:
    assert (
        str(parse_suite("sums: subtract=true, max_terms=3 ,min_terms=2")) == "sums:max_terms=3,subtract=true"
    )
    assert str(parse_suite("sums:max_terms=4,max_digits=2")) == "sums"


def test_score_finds_the_family_by_the_problem() -> None:
    for text in TEXTS:
        suite = parse_suite(text)
        (problem,) = ProblemStream(suite, 0).take(1)
        assert score(problem, Reply(None, "")).value == 0.0


def test_suites_are_told_apart_from_others_that_could_not_be_parsed_here():
    texts = ["sums:max_terms=3", "gym:no_such_family", "sums: max_terms=4", "sums"]
    wanted = {str(parse_suite("sums:max_terms=4")), str(parse_suite("sums"))}
    assert same_suites(wanted, texts) == ["sums: max_terms=4", "sums"]
