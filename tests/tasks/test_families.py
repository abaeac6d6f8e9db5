"""Every family at every level: worked solutions are right, counts are exact, keys are normal forms."""

import random
import re
from itertools import combinations_with_replacement, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.errors import BadInput
from shoestring.tasks.arithmetic import chain
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.countdown import reach, steps, text_of
from shoestring.tasks.expression import NotAnExpression, parse_expression
from shoestring.tasks.suite import parse_suite
from shoestring.tasks.words import LISTED, made_up
from shoestring.text.message import Reply

LEVELS = [
    "sums",
    "sums:max_terms=2,max_digits=1",
    "sums:min_terms=5,max_terms=8,max_digits=3",
    "sums:max_terms=5,subtract=true",
    "sums:min_digits=2,max_value=30",
    "equations",
    "equations:min_form=1,max_form=4,negative=true",
    "equations:min_form=4,max_form=4,max_factor=2,max_constant=3",
    "equations:min_form=3,max_form=3,max_solution=200,max_constant=500,max_factor=99",
    "countdown",
    "countdown:min_numbers=2,max_numbers=4,max_target=100",
    "countdown:max_value=25,max_target=999",
    "letters",
    "letters:question=count",
    "letters:question=nth,min_length=9,max_length=12",
    "letters:question=reverse,min_length=5,max_length=5",
    "letters:question=sort",
]


def draws(text: str, n: int, seed: int = 0) -> list[Problem]:
    suite = parse_suite(text)
    return [suite.family.draw(suite.level, random.Random(f"{seed}:{i}")) for i in range(n)]


@pytest.mark.parametrize("text", LEVELS)
def test_worked_solutions_are_right_and_true(text: str) -> None:
    family = parse_suite(text).family
    for i, problem in enumerate(draws(text, 200)):
        worked = family.worked(problem, random.Random(i))
        assert worked.reasoning
        for line in worked.reasoning.splitlines():
            _assert_true(line)
        verdict = family.score(problem, worked)
        assert verdict.outcome is Outcome.RIGHT, (problem, worked, verdict)
        assert family.score_lenient(problem, worked).outcome is Outcome.RIGHT
        # the same answer in a sentence is right, an empty or other one and the question said back are not
        said = Reply(None, f"{problem.prompt}\n\nThe answer is {worked.answer}.")
        assert family.score(problem, said).outcome is Outcome.RIGHT, (problem, said)
        for answer in ("", "qqqq7", problem.prompt, problem.prompt * 2):
            assert family.score(problem, Reply(worked.reasoning, answer)).outcome is not Outcome.RIGHT, answer


def _assert_true(line: str) -> None:
    """Every chain of equal expressions without letters holds."""
    for piece in re.split(r" |\n", line):
        values = [
            parse_expression(side).value for side in piece.split("=") if re.fullmatch(r"[-+*/()\d]+", side)
        ]
        assert len(set(values)) <= 1, line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "sums:max_terms=3,max_value=4",
            {c for k in (2, 3) for c in combinations_with_replacement(range(1, 5), k)},
        ),
        ("sums:max_terms=2,max_digits=1", set(combinations_with_replacement(range(1, 10), 2))),
    ],
)
def test_sums_count_is_the_number_of_multisets(text: str, expected: set) -> None:
    assert parse_suite(text).count == len(expected)
    assert {tuple(sorted(map(int, p.key.split("+")))) for p in draws(text, 3000)} == expected


def test_signed_sums_count_by_brute_force() -> None:
    keys = set()
    for size in (2, 3):
        for terms, signs in product(product(range(2, 6), repeat=size), product("+-", repeat=size - 1)):
            signed = sorted(zip(("+", *signs), terms, strict=True))
            if sum(t if s == "+" else -t for s, t in signed) >= 0:
                keys.add("".join(f"{s}{t}" for s, t in signed).removeprefix("+"))
    suite = parse_suite("sums:max_terms=3,max_value=5,min_digits=1,subtract=true")
    drawn = {p.key for p in draws(str(suite), 30_000)}
    assert suite.count == len(drawn)
    assert {key for key in drawn if "1" not in key} == keys


@pytest.mark.parametrize(
    "text",
    [
        "equations:min_form=1,max_form=4,max_solution=2,max_constant=2,max_factor=3,negative=true",
        "equations:min_form=2,max_form=2,max_solution=3,max_constant=2,max_factor=3",
        "countdown:min_numbers=2,max_value=3,max_target=10",
        "countdown:max_value=3,max_numbers=4,max_target=12",
    ],
)
def test_count_is_what_drawing_finds(text: str) -> None:
    count = parse_suite(text).count
    assert count is not None
    seen = {p.key for p in draws(text, 60 * count)}
    assert len(seen) == count


def test_letters_count_of_letters_in_words() -> None:
    words = {w for w in LISTED if len(w) == 3} | {
        a + b + c for a, b, c in product("bcdfghjklmnpqrstvwxz", "aeiou", "bcdfghjklmnpqrstvwxz")
    }
    for question, ways in (("count", 26), ("nth", 3), ("reverse", 1), ("any", 31)):
        assert (
            parse_suite(f"letters:question={question},min_length=3,max_length=3").count == len(words) * ways
        )
    assert len(made_up(5, random.Random(0))) == 5
    assert len(set(LISTED)) == len(LISTED)


def test_equal_problems_have_equal_keys() -> None:
    problems = draws("sums:subtract=true", 500)
    for problem in problems:
        terms = re.findall(r"([+-]?) ?(\d+)", problem.prompt)
        again = sorted((sign or "+", int(term)) for sign, term in terms)
        assert problem.key == "".join(f"{sign}{term}" for sign, term in again).removeprefix("+")
        running = [sum(int(f"{s}{t}") for s, t in terms[: i + 1]) for i in range(len(terms))]
        assert min(running) >= 0
        assert running[-1] == problem.hidden["answer"]
    assert all(
        sorted(p.hidden["numbers"]) == list(map(int, p.key.split(">")[0].split(",")))
        for p in draws("countdown", 100)
    )


def test_equations_hold() -> None:
    for problem in draws("equations:max_form=4,negative=true", 300):
        left, right = re.sub(r"(\d)\(", r"\1*(", problem.key).split("=")
        x = problem.hidden["answer"]
        sides = [re.sub(r"(\d*)x", rf"\g<1>*({x})", side) for side in (left, right)]
        sides = [re.sub(r"(?<!\d)\*", "1*", side) for side in sides]
        assert parse_expression(sides[0]).value == parse_expression(sides[1]).value, problem.key


def test_chain_adds_one_place_at_a_time() -> None:
    assert chain(27, 45) == "27+45=67+5=72"
    assert chain(7, 5) == "7+5=12"
    assert chain(122, 345) == "122+345=422+45=462+5=467"
    assert chain(60, 40) == "60+40=100"
    assert chain(50, 8, "-") == "50-8=42"
    assert chain(111, 49, "-") == "111-49=71-9=62"
    assert chain(5, 0) == "5+0=5"


def test_countdown_scoring() -> None:
    problem = next(p for p in draws("countdown", 20_000) if p.key == "3,5,8>19")
    score = parse_suite("countdown").family.score
    for text in (
        "8*3-5",
        "3 * 8 - 5",
        "(8*3)-5 = 19",
        "8 × 3 − 5",
        "The answer is 8*3-5.",
        "You can do **8 * 3 - 5** to get it.",
        "\\boxed{8*3-5}",
        "-5+8*3",
    ):
        assert score(problem, Reply(None, text)).outcome is Outcome.RIGHT, text
    for text in (
        "8*3-6",
        "8*3-5\n8+5+3",
        "8*3=24\n24-5=19",
        "19*1",
        "8+8+3",
        "5*3+4",
        "8**3-5",
        "3*8-5+0",
        "(8*3-5",
        "8*3-5/0",
    ):
        assert score(problem, Reply(None, text)).outcome is Outcome.WRONG, text
    for text in ("", "19", "3, 5 and 8", problem.prompt, "I can't."):
        assert score(problem, Reply(None, text)).outcome is Outcome.UNPARSED, text
    assert (
        parse_suite("countdown").family.score_lenient(problem, Reply("8+5 no\n8*3-5 yes", "?")).outcome
        is Outcome.RIGHT
    )


def test_countdown_reaches_what_brute_force_reaches() -> None:
    """All three numbers, whole positive steps: (a . b) . c in every order."""

    def joined(a: int, b: int) -> set[int]:
        return {a + b, a * b} | ({a - b} if a > b else set()) | ({a // b} if a % b == 0 else set())

    for numbers in ((1, 2, 3), (2, 7, 10), (4, 4, 8)):
        orders = {(numbers[i], numbers[j], numbers[k]) for i, j, k in [(0, 1, 2), (0, 2, 1), (1, 2, 0)]}
        expected: set[int] = set()
        for a, b, c in orders:
            for inner in joined(a, b) | joined(b, a):
                expected |= joined(inner, c) | joined(c, inner)
        assert set(reach(numbers)) == expected
        for value, tree in reach(numbers).items():
            assert parse_expression(text_of(tree)).value == value
            assert sorted(parse_expression(text_of(tree)).numbers) == list(numbers)
            assert steps(tree)[-1].endswith(f"={value}")


@settings(max_examples=50)
@given(st.text(alphabet="0123456789+-*/() ", max_size=60))
def test_expressions_read_as_python_reads_them(text: str) -> None:
    try:
        ours = parse_expression(text)
    except NotAnExpression:
        return
    assert ours.numbers
    plain = re.sub(r"\b0+(?=\d)", "", text.strip())
    if "//" not in plain and "**" not in plain and "+" not in plain:
        assert float(ours.value) == pytest.approx(eval(plain), rel=1e-9)


def test_expression_values_and_faults() -> None:
    assert parse_expression("(3+5)*-2/4").value == -4
    assert parse_expression("1/3+1/6").value * 2 == 1
    assert parse_expression("7-3-2").value == 2
    assert parse_expression("12/3/2").numbers == (12, 3, 2)
    for text in (
        "",
        "1+",
        "(1",
        "1)",
        "1 2",
        "1//2",
        "2**3",
        "1/0",
        "x",
        "1" * 10,
        "(" * 300,
        "__import__('os')",
    ):
        with pytest.raises(NotAnExpression):
            parse_expression(text)


def test_letters_scoring() -> None:
    family = parse_suite("letters").family
    problem = next(p for p in draws("letters:question=reverse", 5000) if p.hidden["word"] == "lemon")
    for text in (
        "nomel",
        "Nomel.",
        '"nomel"',
        "n o m e l",
        "n-o-m-e-l",
        'The word "lemon" spelled backwards is "nomel".',
        "**nomel**",
    ):
        assert family.score(problem, Reply(None, text)).outcome is Outcome.RIGHT, text
    for text in (
        "lemon",
        "nomel or lemon",
        "nomel\nlemon",
        "lemon nomel",
        "The answer is nomel. The answer is melon.",
    ):
        assert family.score(problem, Reply(None, text)).outcome is Outcome.WRONG, text
    assert family.score(problem, Reply(None, "123")).outcome is Outcome.UNPARSED
    assert family.score_lenient(problem, Reply("so nomel", "")).outcome is Outcome.RIGHT
    nth = next(p for p in draws("letters:question=nth", 5000) if p.key == "nth:lemon:3")
    assert nth.prompt == 'What is the 3rd letter of "lemon"?'
    for text in ("m", "M.", "It is the letter m.", 'The 3rd letter of "lemon" is "m".'):
        assert family.score(nth, Reply(None, text)).outcome is Outcome.RIGHT, text
    assert family.score(nth, Reply(None, "l, e, m")).outcome is Outcome.WRONG
    count = next(
        p for p in draws("letters:question=count", 5000) if p.hidden["word"].count(p.hidden["letter"]) == 2
    )
    assert (
        family.score(count, Reply(None, f'The letter occurs 2 times in "{count.hidden["word"]}".')).outcome
        is Outcome.RIGHT
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sums:min_terms=4,max_terms=3", "min_terms 4 is above max_terms 3"),
        ("sums:min_digits=3", "min_digits 3 is above max_digits 2"),
        ("sums:min_digits=2,max_value=5", "no term fits"),
        ("sums:max_term=3", "did you mean 'max_terms'?"),
        ("sums:max_terms=9", "max_terms"),
        ("sums:subtract=maybe", "subtract"),
        ("equations:min_form=3", "min_form 3 is above max_form 2"),
        ("countdown:max_numbers=4,max_value=20", "at most 12"),
        ("letters:question=rhyme", "question"),
        ("sum", "did you mean 'sums'?"),
        ("", "no task family"),
        ("nowhere.jsonl", "no such file of problems: nowhere.jsonl"),
        ("sums:max_terms", "write it as key=value"),
    ],
)
def test_bad_suites_get_one_clear_line(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)) as caught:
        parse_suite(text)
    assert "\n" not in str(caught.value)
