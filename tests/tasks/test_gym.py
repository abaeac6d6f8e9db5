"""reasoning-gym's families through our door (they need the extra `gym`)."""

import random
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own imports warn
    pytest.importorskip("reasoning_gym", reason="the extra `gym` is not installed")

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.draw import ProblemStream, draw_problems
from shoestring.tasks.gym import gym_names
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite, score, score_lenient
from shoestring.text.message import Reply

SOME = [
    "chain_sum",
    "basic_arithmetic",
    "spell_backward",
    "countdown",
    "acre",
    "word_ladder",
    "letter_counting",
]


def test_how_many_there_are() -> None:
    assert len(gym_names()) >= 105
    assert "composite" not in gym_names()


@pytest.mark.parametrize("name", SOME)
def test_right_answers_are_right_and_problems_repeat(name: str) -> None:
    suite = parse_suite(f"gym:{name}")
    problems = ProblemStream(suite, 3).take(4)
    assert problems == ProblemStream(suite, 3).take(4)
    assert len({p.key for p in problems}) > 1
    assert suite.count is None
    for problem in problems:
        gold = str(problem.hidden["entry"]["answer"])
        assert score(problem, Reply(None, gold)).outcome is Outcome.RIGHT
        assert score(problem, Reply(None, f"<answer>{gold}</answer>")).outcome is Outcome.RIGHT
        assert score(problem, Reply(gold, "")).outcome is Outcome.UNPARSED
        assert (
            score(problem, Reply(None, f"<answer>{gold}</answer><answer>0</answer>")).outcome
            is Outcome.UNPARSED
        )
        wrong = score(problem, Reply(None, f"{gold} or not {gold}"))
        assert (wrong.outcome, wrong.value) == (Outcome.WRONG, 0.0)


def test_partial_marks_are_not_trusted() -> None:
    (problem,) = ProblemStream(parse_suite("gym:countdown"), 0).take(1)
    first = problem.hidden["entry"]["metadata"]["numbers"][0]
    verdict = score(problem, Reply(None, str(first)))  # the dataset's own mark is above 0
    assert (verdict.outcome, verdict.value) == (Outcome.WRONG, 0.0)
    assert not verdict.detail.endswith(" 0")


def test_a_right_start_with_a_wrong_end_is_wrong() -> None:
    (problem,) = ProblemStream(parse_suite("gym:spell_backward:min_word_len=7,max_word_len=7"), 0).take(1)
    gold = problem.hidden["entry"]["answer"]
    assert score(problem, Reply(None, gold)).outcome is Outcome.RIGHT
    assert score(problem, Reply(None, f"{gold} or not")).outcome is Outcome.WRONG


def test_lenient_reads_prose() -> None:
    (problem,) = ProblemStream(parse_suite("gym:chain_sum"), 0).take(1)
    gold = problem.hidden["entry"]["answer"]
    reply = Reply(None, f"Let me see.\nThe result is {gold}.")
    assert score(problem, reply).outcome is Outcome.WRONG
    assert score_lenient(problem, reply).outcome is Outcome.RIGHT
    assert score_lenient(problem, Reply(None, f"The result is {int(gold) + 1}.")).outcome is Outcome.WRONG


def test_levels_are_the_datasets_settings() -> None:
    suite = parse_suite("gym:chain_sum:max_terms=2,min_terms=2,max_digits=1")
    assert str(suite) == "gym:chain_sum:max_digits=1,max_terms=2"
    assert parse_suite(str(suite)).level == suite.level
    assert all(
        len(p.key.split(" + ")) + len(p.key.split(" - ")) == 3 for p in ProblemStream(suite, 0).take(20)
    )
    for text, words in (
        ("gym:chain_sum:max_term=2", "did you mean 'max_terms'"),
        ("gym:chain_sum:seed=2", "unknown setting 'seed'"),
        ("gym:chain_sum:max_terms=1", "can't be made so"),
        ("gym:chain_some", "did you mean 'chain_sum'"),
        ("gym:composite", "no family 'gym:composite'"),
        ("gym:", "no family 'gym:'"),
    ):
        with pytest.raises(BadInput, match=words.replace("(", r"\(")) as caught:
            parse_suite(text)
        assert "\n" not in str(caught.value)


def test_small_sums_overlap_by_seed_but_not_by_split() -> None:
    suite = parse_suite("gym:chain_sum:max_terms=2,max_digits=1,min_digits=1")
    trained = {p.id for seed in range(3) for p in ProblemStream(suite, seed).take(700)}
    tested = {p.id for p in draw_problems(suite, "test", 15, 0)}
    assert len(trained) < 2100  # seeds do overlap
    assert not trained & tested


def test_no_worked_solutions() -> None:
    suite = parse_suite("gym:chain_sum")
    (problem,) = ProblemStream(suite, 0).take(1)
    with pytest.raises(BadInput, match="no worked solutions"):
        suite.family.worked(problem, random.Random(0))


@pytest.mark.slow
def test_through_the_judge_loading_is_not_counted() -> None:
    """Importing the datasets takes seconds; the clock of an item is far shorter."""
    problems = ProblemStream([parse_suite(f"gym:{name}") for name in SOME], 0).take(14)
    replies = [(f"{i}", p, Reply(None, str(p.hidden["entry"]["answer"]))) for i, p in enumerate(problems)]
    with Judge(workers=1, timeout_s=1.0) as judge:
        assert {v.outcome for v in judge.score(replies).values()} == {Outcome.RIGHT}
        assert judge.retried == 0


def _verdict(name: str, write) -> Verdict:
    (problem,) = ProblemStream(parse_suite(f"gym:{name}"), 0).take(1)
    return score(problem, Reply(None, write(str(problem.hidden["entry"]["answer"]))))


@pytest.mark.parametrize("name", ["gsm_symbolic", "knights_knaves", "fraction_simplification"])
def test_a_list_with_the_right_answer_in_it_is_wrong(name):
    """Their own scorers find the right one in the list."""
    assert _verdict(name, lambda gold: gold).outcome is Outcome.RIGHT
    listed = _verdict(name, lambda gold: ", ".join([gold, *(f"{n} qxzvj{n}/{n + 1}" for n in range(77, 97))]))
    assert listed.outcome is Outcome.WRONG


def test_halting_isnt_any_text():
    assert _verdict("game_of_life_halting", lambda gold: gold).outcome is Outcome.RIGHT
    for other in ("qxzvj", "22", "not sure"):
        assert _verdict("game_of_life_halting", lambda _, text=other: text).outcome is Outcome.WRONG


def test_what_a_scorer_cant_read_is_wrong_not_an_error():
    found = _verdict("prime_factorization", lambda _: "seven times eleven")
    assert (found.outcome, found.value) == (Outcome.WRONG, 0.0)
    assert "can't read it" in found.detail


def test_a_box_may_have_braces_in_it() -> None:
    (problem,) = ProblemStream(parse_suite("gym:basic_arithmetic"), 0).take(1)
    gold = str(problem.hidden["entry"]["answer"])
    assert score(problem, Reply(None, f"\\boxed{{{gold}}}")).outcome is Outcome.RIGHT
    assert score(problem, Reply(None, f"so {{it}} is \\boxed{{{gold}}}, not {{0}}")).outcome is Outcome.RIGHT
    assert score(problem, Reply(None, "\\boxed{x^{5}}")).outcome is Outcome.WRONG  # read whole, not skipped
