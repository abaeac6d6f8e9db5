"""What counts as an answer: a table of what models say, and of how they could try to cheat."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.tasks.answers import find_integer, judge_integer, judge_integer_lenient
from shoestring.tasks.base import Outcome
from shoestring.tasks.texts import find_choice, find_exact
from shoestring.text.message import Reply

R, W, U = Outcome.RIGHT, Outcome.WRONG, Outcome.UNPARSED
SUM = "What is 17 + 5 + 42?"  # 64
EQUATION = "Which integer x satisfies 3x + 4 = 19?"  # 5

SAID = [
    ("64", R),
    ("64.", R),
    (" 64\n", R),
    ("**64**", R),
    ("**64.**", R),
    ("$64$", R),
    ("`64`", R),
    ('"64"', R),
    ("(64)", R),
    ("64.0", R),
    ("064", R),
    ("+64", R),
    ("- 64", R),  # a list's mark
    ("* 64", R),
    ("1. 64", R),
    ("\\boxed{64}", R),
    ("The answer is \\boxed{64}.", R),
    ("\\[\\boxed{64}\\]", R),
    ("\\boxed{17+5+42=64}", R),
    ("<answer>64</answer>", R),
    ("Adding gives 22.\n<answer> 64 </answer>", R),
    ("The answer is 64.", R),
    ("The answer is: 64", R),
    ("Answer: 64", R),
    ("**Answer:** 64", R),
    ("Final answer = 64", R),
    ("The answer to 17 + 5 + 42 is 64.", R),
    ("The answer is 64. I hope these 3 steps help!", R),
    ("The sum of 17, 5 and 42 is 64.", R),
    ("The sum is equal to 64.", R),
    ("17 + 5 + 42 = 64", R),
    ("17 + 5 + 42 = 22 + 42 = 64", R),
    ("17 + 5 = 22\n22 + 42 = 64", R),
    ("17 + 5 = 22, 22 + 42 = 64", R),
    ("1. 17 + 5 = 22\n2. 22 + 42 = 64", R),
    ("\\( 17 + 5 + 42 = 64 \\)", R),
    ("17 plus 5 plus 42 equals 64", R),
    ("17, 5 and 42 add up to 64", R),
    ("Add 17 and 5 to get 22.\nThen add 42 to get 64.", R),
    ("If you add them all you have 64!", R),
    ("What is 17 + 5 + 42? 64", R),
    ("What is 17 + 5 + 42?\n\n17 + 5 + 42 = 64", R),
    ("It is 64; that was easy.", R),
    ("64\n64", R),
    ("\\boxed{64} \\boxed{64}", R),
    ("65", W),
    ("-64", W),
    ("−64", W),
    ("64.5", W),
    ("6 4", W),
    ("640", W),
    ("17 + 5 + 42 = 65", W),
    ("The answer is 63. No, the answer is 64.", W),
    ("62 63 64", W),
    ("62, 63, 64", W),
    ("62\n63\n64", W),
    ("62. 63. 64.", W),
    ("1. 62\n2. 64", W),
    ("64 or 65", W),
    ("It is 64 or maybe 65.", W),
    (" ".join(f"\\boxed{{{n}}}" for n in range(55, 75)), W),
    ("\\boxed{64} \\boxed{65}", W),
    ("\\boxed{64} \\boxed{}", W),
    ("<answer>64</answer><answer>65</answer>", W),
    ("64 is the sum of 17, 5 and 42", W),
    ("9" * 5000, W),
    ("", U),
    ("a", U),
    ("I don't know.", U),
    ("sixty-four", U),
    (SUM, U),
    (SUM.lower(), U),
    ("17 + 5 + 42", U),
    ("You asked: What is 17 + 5 + 42?", U),
    ("Is it 64?", U),
    ("64" + " " * 30_000, U),  # longer than any answer
]


@pytest.mark.parametrize(("text", "outcome"), SAID, ids=[repr(text)[:40] for text, _ in SAID])
def test_integers(text: str, outcome: Outcome) -> None:
    verdict = judge_integer(Reply(None, text), 64, SUM)
    assert verdict.outcome is outcome, verdict.detail
    assert verdict.value == (1.0 if outcome is R else 0.0)


EQUATIONS_SAID = [
    ("5", R),
    ("x = 5", R),
    ("x=5.", R),
    ("So x is 5.", R),
    ("x = 15 / 3 = 5", R),
    ("3x = 15\nx = 5", R),
    ("3x = 15, so x = 5", R),
    ("x = 5, since 3*5 + 4 = 19", R),
    ("The integer is 5.", R),
    ("The answer is x = 5", R),
    ("\\boxed{x = 5}", R),
    ("x = 5 or x = 6", W),
    ("x = 6", W),
    ("3x = 15", U),
    ("3x + 4 = 5", U),  # says nothing of x alone
    ("-x = 5", U),
    ("2 * x = 5", U),
    ("x = 19 - 4", U),
    (EQUATION, U),
]


@pytest.mark.parametrize(("text", "outcome"), EQUATIONS_SAID)
def test_a_named_unknown(text: str, outcome: Outcome) -> None:
    verdict = judge_integer(Reply(None, text), 5, EQUATION, "x")
    assert verdict.outcome is outcome, verdict.detail


def test_thinking_is_never_the_answer() -> None:
    assert judge_integer(Reply("The answer is 64.", ""), 64, SUM).outcome is U
    assert judge_integer(Reply("The answer is 64.", "The answer is 5."), 64, SUM).outcome is W
    assert judge_integer(Reply("Answer: 5", "Answer: 64"), 64, SUM).outcome is R
    assert judge_integer(Reply("", "a"), 64, SUM).outcome is U


def test_the_question_said_back_never_pays_even_where_its_last_number_is_the_answer() -> None:
    for text in (
        "What is 0 + 5?",
        "0 + 5",
        "What is 0 + 5",
        "What is 0 + 5? What is 0 + 5?",
        "Question: 0 + 5",
    ):
        assert judge_integer(Reply(None, text), 5, "What is 0 + 5?").outcome is U, text


def test_lenient_grants_what_a_person_would() -> None:
    for reply in (
        Reply("17 + 5 + 42 = 64", ""),
        Reply("so 64", "I can't say."),
        Reply(None, "64 or 65, no, 65 or 64"),
        Reply(None, "62, 63, 64"),
        Reply(None, "The answer is 63. No, the answer is 64."),
        Reply(None, "64"),
    ):
        assert judge_integer_lenient(reply, 64, SUM).outcome is R, reply
    assert judge_integer_lenient(Reply(None, SUM), 64, SUM).outcome is U
    assert judge_integer_lenient(Reply("it is 65", ""), 64, SUM).outcome is W
    assert (
        judge_integer_lenient(Reply(None, SUM.replace("42", "64")), 64, SUM.replace("42", "64")).outcome is U
    )


def test_thousands_and_signs() -> None:
    assert find_integer("1,234").single == "1234"
    assert find_integer("It is 12,345,678.").single == "12345678"
    assert find_integer("5 - 12 = −7").single == "-7"
    assert find_integer("3 - 3 = -0").single == "0"
    assert find_integer("17,5,42").values == ("17", "5", "42")


@given(st.text(alphabet="0123456789 .,=+-*/()xX\\{}boxed\nis answer:?<>", max_size=200), st.integers(-99, 99))
def test_no_text_breaks_the_reader(text: str, gold: int) -> None:
    verdict = judge_integer(Reply(None, text), gold, SUM, "x")
    if verdict.outcome is R:
        assert str(abs(gold)) in text.replace(",", "")


@given(
    st.lists(st.integers(0, 200), min_size=2, max_size=6, unique=True),
    st.sampled_from([" ", ", ", "\n", " or "]),
)
def test_no_list_of_candidates_pays(candidates: list[int], between: str) -> None:
    text = between.join(map(str, candidates))
    assert all(judge_integer(Reply(None, text), gold).outcome is not R for gold in candidates)


JUNK = [
    "9,999",
    "\n",
    " ",
    "1 ",
    "(",
    "1+",
    "- ",
    "answer to ",
    "\\boxed{",
    "is ",
    "x",
    "9",
    "+-",
    "<answer>",
    "1.",
    "**",
]


@pytest.mark.parametrize("piece", JUNK)
def test_long_junk_is_read_in_no_time(piece: str) -> None:
    text = (piece * 20_000)[:19_999]
    started = time.perf_counter()
    judge_integer_lenient(Reply(text, text), 64, SUM, "x")
    find_exact(text), find_choice(text)
    assert time.perf_counter() - started < 1.0


def test_choices_and_texts() -> None:
    prompt = "Which is red? A) sky B) blood C) grass"
    for text in (
        "B",
        "(B)",
        "B.",
        "B) blood",
        "The answer is B.",
        "The answer is (B) blood.",
        "\\boxed{B}",
        "It is B",
    ):
        assert find_choice(text, prompt).single == "B", text
    for text in ("A or B", "A, B, C", "A B C", prompt, "\\boxed{A}\\boxed{B}", "", "none"):
        assert find_choice(text, prompt).single is None, text
    for text in ("Paris", "paris.", '"Paris"', "The answer is Paris.", "**Paris**", "\\boxed{Paris}"):
        assert find_exact(text).single == "paris", text
    assert find_exact("\\boxed{Paris} \\boxed{Rome}").single is None
    assert find_exact("The answer is Paris. The answer is Rome.").single is None
    assert find_exact("").single is None
