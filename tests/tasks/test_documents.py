"""Worked solutions as documents: the right ones are right, the wrong ones are wrong and say so."""

import dataclasses
import json
import random
from itertools import pairwise

import pytest

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.documents import RIGHT, WRONG, WorkedDocuments
from shoestring.tasks.draw import ProblemStream, draw_problems
from shoestring.tasks.slips import habitual, spoiled
from shoestring.tasks.suite import family_named, parse_suite, score
from shoestring.tasks.worked import worked_messages
from shoestring.text.message import Reply
from shoestring.text.mixture import Document, Mixture

SUITES = ["sums:subtract=true", "equations:max_form=4,negative=true", "countdown", "letters"]


def reply_of(document: Document) -> Reply:
    assert document.messages is not None
    turn = document.messages[-1]
    return Reply(turn.get("reasoning_content"), turn["content"])


def problems(suites=SUITES, seed: int = 0) -> ProblemStream:
    return ProblemStream([parse_suite(suite) for suite in suites], seed)


def test_right_ones_are_the_worked_solutions():
    source, stream = WorkedDocuments(SUITES, seed=0), problems()
    for i in range(40):
        document, problem = source.next(), stream.item(i)
        assert document.messages == worked_messages(problem, f"0/{i}")
        assert (document.text, document.id, document.source) == (None, problem.id, RIGHT)
        assert not problem.held_out


@pytest.mark.parametrize("suite", [*SUITES, "sums", "letters:question=sort,min_length=3,max_length=3"])
def test_wrong_ones_are_wrong_and_look_alike(suite):
    source, stream = WorkedDocuments([suite], seed=1, share_right=0), problems([suite], seed=1)
    for i in range(150):
        document, problem = source.next(), stream.item(i)
        right = worked_messages(problem, f"1/{i}")
        assert document.source == WRONG
        assert document.messages is not None
        assert document.messages[:-1] == right[:-1]
        wrong = reply_of(document)
        assert score(problem, wrong).outcome is not Outcome.RIGHT, (problem, wrong)
        assert wrong.reasoning != right[-1].get("reasoning_content")
        told = (wrong.reasoning or "").splitlines()
        assert len(told) == len((right[-1].get("reasoning_content") or "").splitlines())


def slip_of(problem: Problem, seed: int) -> Reply:
    worked = family_named(problem.family).worked(problem, random.Random("k"))
    return spoiled(problem, worked, random.Random(seed))


def test_a_slip_in_a_sum_goes_on_to_the_answer():
    """Every line but one is right for what it starts from, and starts from where the one before it ended."""
    for problem in draw_problems(parse_suite("sums:min_terms=4,subtract=true"), "train", 50, seed=0):
        wrong = slip_of(problem, 3)
        lines = [line.split("=") for line in (wrong.reasoning or "").splitlines()]
        slips = sum(eval(line[0]) != int(line[-1]) for line in lines)
        assert slips == 1
        for before, line in pairwise(lines):
            assert line[0].replace("-", "+").split("+")[0] == before[-1]
        assert wrong.answer == lines[-1][-1]
        assert int(wrong.answer) >= 0


def test_slips_by_hand():
    level = {
        "letters": "letters:question=count",
        "equations": "equations:max_form=1",
        "countdown": "countdown",
    }
    for suite, ends in ((level["letters"], 1), (level["equations"], 2)):
        for problem in draw_problems(parse_suite(suite), "train", 30, seed=0):
            off = int(slip_of(problem, 0).answer) - int(problem.hidden["answer"])
            assert 1 <= abs(off) <= ends
    for problem in draw_problems(parse_suite(level["countdown"]), "train", 30, seed=0):
        wrong = slip_of(problem, 0)
        assert (wrong.reasoning or "").endswith(f"={problem.hidden['target']} yes")
        assert sorted(map(int, wrong.answer.translate(str.maketrans("+-*/()", "      ")).split())) == sorted(
            problem.hidden["numbers"]
        )


def test_habits_by_hand():
    (sums,) = draw_problems(parse_suite("sums"), "train", 1, seed=0)
    (equation,) = draw_problems(parse_suite("equations"), "train", 1, seed=0)

    def added(*steps: tuple[str, int]) -> Reply:
        return habitual(dataclasses.replace(sums, hidden={"steps": steps}))

    def solved(form: int, a: int, b: int, c: int, x: int) -> Reply:
        hidden = {"form": form, "a": a, "b": b, "c": c, "answer": x}
        return habitual(dataclasses.replace(equation, hidden=hidden))

    assert added(("+", 27), ("+", 45)) == Reply("27+45=67+5=62", "62")
    assert added(("+", 27), ("+", 41), ("-", 9)) == Reply("27+41=67+1=68\n68-9=69", "69")
    assert added(("+", 5), ("+", 7), ("-", 11)) == Reply("5+7=12\n12-11=2-1=1", "1")  # or it fell below 0
    assert solved(1, 1, 12, 0, 3) == Reply("x=15+12=25+2=27", "27")
    assert solved(1, 1, -4, 0, 3) == Reply("x=-1-4=-5", "-5")
    assert solved(2, 3, 4, 0, 5) == Reply("3x=19-4=15\nx=15", "15")
    assert solved(3, 3, 4, 0, 5) == Reply("x+4=27\nx=27-4=23", "23")
    assert solved(4, 5, 3, 2, 5) == Reply("5x-2x=18-3=15\nx=15", "15")


@pytest.mark.parametrize(
    "suite", ["sums:max_terms=3", "sums:subtract=true", "equations:max_form=4,negative=true"]
)
def test_a_habit_is_the_same_everywhere_and_says_where_it_was_right(suite):
    source = WorkedDocuments([suite], seed=1, share_right=0, slips="habit")
    stream, right = problems([suite], seed=1), 0
    for i in range(300):
        document, problem = source.next(), stream.item(i)
        reply = reply_of(document)
        assert reply == habitual(problem)
        is_right = score(problem, reply).outcome is Outcome.RIGHT
        assert document.source == (RIGHT if is_right else WRONG)
        right += is_right
        if is_right and suite == "sums:max_terms=3":
            assert reply == family_named("sums").worked(problem, random.Random(0))
    assert (0 < right < 200) if suite.startswith("sums") else right < 20
    with pytest.raises(BadInput, match="letters has no bad habit"):
        WorkedDocuments(["letters"], 0, 0.5, slips="habit")


def test_the_share_of_right_ones():
    source = WorkedDocuments(["sums"], seed=0, share_right=0.7)
    sources = [source.next().source for _ in range(1000)]
    assert abs(sources.count(RIGHT) - 700) < 60  # four standard deviations are 58
    assert set(sources) == {RIGHT, WRONG}


def test_a_problem_is_right_or_wrong_whatever_was_read_before():
    whole = WorkedDocuments(SUITES, seed=0, share_right=0.5, system="Think.")
    documents = [whole.next() for _ in range(60)]
    assert documents[0].messages is not None
    assert documents[0].messages[0] == {"role": "system", "content": "Think."}
    first = WorkedDocuments(SUITES, seed=0, share_right=0.5, system="Think.")
    for _ in range(23):
        first.next()
    again = WorkedDocuments(SUITES, seed=0, share_right=0.5, system="Think.")
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [again.next() for _ in range(37)] == documents[23:]
    skipped = WorkedDocuments(SUITES, seed=0, share_right=0.5, system="Think.")
    skipped.skip(23)
    assert skipped.next() == documents[23]


def test_validation_is_of_held_out_problems():
    source = WorkedDocuments(["sums", "letters"], seed=5, share_right=0.5)
    held_out = source.validation(11)
    assert len({d.id for d in held_out}) == len(held_out) == 11
    assert {d.source for d in held_out} == {RIGHT}
    assert WorkedDocuments(["sums", "letters"], seed=6).validation(11) == held_out
    trained = {source.next().id for _ in range(400)}
    assert not trained & {d.id for d in source.validation(100)}


def test_it_mixes():
    mixed = Mixture([WorkedDocuments(["sums"], 0), WorkedDocuments(["letters"], 0)], [1, 1], seed=0)
    assert {d.source for d in (mixed.next() for _ in range(10))} == {RIGHT}
    assert [origin.source for origin in mixed.origins] == ["procedural:sums", "procedural:letters"]


def test_what_can_not_be_had_is_refused_at_once(tmp_path):
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadInput, match="share_right"):
            WorkedDocuments(["sums"], 0, share)
    with pytest.raises(BadInput, match="at least one suite"):
        WorkedDocuments([], 0)
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f'{{"question": "{i}+1?", "answer": "{i + 1}"}}\n' for i in range(50)))
    with pytest.raises(BadInput, match="no worked solutions"):
        WorkedDocuments([str(path)], 0)
