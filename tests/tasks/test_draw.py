"""What is held out is never trained on, and draws don't change."""

from pathlib import Path

import pytest

from shoestring.errors import BadInput
from shoestring.tasks.draw import ProblemStream, check_file, check_room, draw_problems
from shoestring.tasks.suite import Split, Suite, parse_suite

TEXTS = [
    "sums",
    "sums:max_digits=1,max_terms=6,subtract=true",
    "equations:max_form=4",
    "countdown",
    "letters",
]


@pytest.mark.parametrize("text", TEXTS)
def test_train_and_test_share_nothing(text: str) -> None:
    suite = parse_suite(text)
    test = {p.id for seed in (0, 1) for p in draw_problems(suite, "test", 150, seed)}
    streamed = [p for seed in range(4) for p in ProblemStream(suite, seed).take(600)]
    trained = {p.id for p in streamed} | {p.id for p in draw_problems(suite, "train", 500, 0)}
    assert len(test & trained) == 0
    assert not any(p.held_out for p in streamed)


def test_levels_that_overlap_share_nothing_either() -> None:
    easy, hard = parse_suite("sums:max_terms=3,max_digits=1"), parse_suite("sums:max_terms=3,max_value=12")
    test = {p.id for p in draw_problems(hard, "test", 36, 7)}
    trained = {p.id for p in ProblemStream(easy, 3).take(3000)}
    assert len(trained) > 150  # nearly all 210 problems of the level, so a leak would show
    assert not test & trained


def test_a_tenth_is_held_out() -> None:
    suite = parse_suite("sums:max_terms=3,max_digits=1")
    trained, tested = _number(suite, "train"), _number(suite, "test")
    assert trained + tested == suite.count == 210
    assert 0.05 < tested / 210 < 0.16


def _number(suite: Suite, split: Split) -> int:
    """How many problems the split has: asking for too many says so."""
    with pytest.raises(BadInput, match=r"has only \d+ distinct") as caught:
        draw_problems(suite, split, 1000, 0)
    return int(str(caught.value).split("has only ")[1].split()[0])


def test_draws_are_distinct_repeatable_and_nested() -> None:
    suite = parse_suite("letters")
    drawn = draw_problems(suite, "test", 60, 5)
    assert len({p.key for p in drawn}) == 60
    assert all(p.held_out for p in drawn)
    assert draw_problems(suite, "test", 60, 5) == drawn
    assert draw_problems(suite, "test", 20, 5) == drawn[:20]
    assert draw_problems(suite, "test", 60, 6) != drawn


def test_first_problems_never_change() -> None:
    """Recorded once: a change here makes every recorded result incomparable."""
    prompts = [p.prompt for p in draw_problems(parse_suite("sums"), "test", 3, 0)]
    assert prompts == ["What is 50 + 8 + 31?", "What is 16 + 23?", "What is 48 + 69 + 98?"]


def test_a_stream_resumes_at_its_index_and_mixes_suites_evenly() -> None:
    suites = [parse_suite("sums"), parse_suite("equations"), parse_suite("letters")]
    stream = ProblemStream(suites, seed=1)
    first = stream.take(7)
    state = stream.state_dict()
    rest = stream.take(8)
    assert [p.family for p in first[:4]] == ["sums", "equations", "letters", "sums"]
    again = ProblemStream(suites, seed=1)
    again.load_state_dict(state)
    assert again.take(8) == rest
    assert ProblemStream(suites, seed=1).take(15) == first + rest
    assert ProblemStream(suites, seed=2).take(7) != first


def test_room() -> None:
    suite = parse_suite("sums:max_terms=3,max_digits=1")
    check_room(suite, 10)
    with pytest.raises(
        BadInput, match=r"has 210 distinct problems; 5120 \(20 times n = 256\) are needed: .* at most 10"
    ):
        check_room(suite, 256)
    check_room(parse_suite("sums:max_terms=3,max_value=30"), 256)


def test_a_file_with_too_few_rows_says_which_were_left_out_and_how_all_are_asked(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = [f'{{"prompt": "{i}+1?", "answer": "{i + 1}"}}' for i in range(20)]
    file.write_text("\n".join([*good, "not json", '{"prompt": "", "answer": "x"}', "[]"]))
    suite = parse_suite(str(file))
    there = suite.num_tested
    assert there is not None
    check_file(suite, there, there)
    with pytest.raises(BadInput) as caught:
        check_file(suite, there, there + 1)
    for words in ("':test=all' asks all of them", "a tenth of a file's 20", "(rows 21, 23)", "(row 22)"):
        assert words in str(caught.value)
    whole = parse_suite(f"{file}:test=all")
    check_file(whole, 20, 20)
    with pytest.raises(BadInput, match="has 20 problems for testing") as caught:
        check_file(whole, 20, 21)
    assert "test=all' asks" not in str(caught.value)
