"""The maths verifier: exact values in every spelling, no wrong value in any, and nothing that stops a job."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shoestring.origin import Origin
from shoestring.tasks import second_opinion
from shoestring.tasks.answers import boxed
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.exact import NoValue, TooBig, Unreadable
from shoestring.tasks.files import FileFamily
from shoestring.tasks.judge import Judge
from shoestring.tasks.letters import find_word
from shoestring.tasks.maths import compare, gold_fault, judge_maths, judge_maths_lenient
from shoestring.tasks.maths_found import find_maths
from shoestring.tasks.maths_reader import read
from shoestring.tasks.maths_value import Rules, same
from shoestring.tasks.suite import parse_suite
from shoestring.tasks.texts import find_choice
from shoestring.text.message import Reply

R, W, U = Outcome.RIGHT, Outcome.WRONG, Outcome.UNPARSED
CEILING_S = 1.0


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    second_opinion.load()  # as a worker does before its first clock starts


def ours(gold: str, said: str) -> bool | None:
    return same(read(gold), read(said), Rules())


def problem(gold: str, kind: str = "maths", percent: bool = False) -> Problem:
    hidden = {"kind": kind, "answer": gold, "percent": percent, "scorer": "", "row": {}}
    return Problem("file", "", "key", "Compute.", hidden, Origin("test", "CC0-1.0"))


DIFFERENT = [
    ("1/2004!", "1/2006!"),
    ("(0,1)", "(0,1.5)"),
    ("\\pm 2021", "2021"),
    ("12:00", "1:00"),
    ("0.1", "0.10000000000000003"),
    ("0.5", "50\\%"),
    ("\\sqrt{2}", "1.41421356237"),
    ("[0,1)", "(0,1]"),
    ("x^2-1", "(x-1)^2"),
    ("1, 3", "(1, 3)"),
]


@pytest.mark.parametrize(("gold", "said"), DIFFERENT)
def test_values_that_only_look_alike(gold: str, said: str) -> None:
    assert ours(gold, said) is False
    assert ours(gold, gold) is True


def test_percents_are_shares_only_where_the_task_says_so() -> None:
    for said in ("50%", "50 percent", "0.5", "\\frac12"):
        assert judge_maths(Reply(None, said), "1/2", percent=True).outcome is R
    assert judge_maths(Reply(None, "50%"), "1/2").outcome is W
    assert judge_maths(Reply(None, "50"), "50\\%", "What percent is it?").outcome is R


fractions = st.fractions(min_value=-1000, max_value=1000, max_denominator=400)
SPELLINGS = (
    lambda f: f"{f.numerator}/{f.denominator}",
    lambda f: f"\\frac{{{f.numerator}}}{{{f.denominator}}}",
    lambda f: f"-\\dfrac{{{-f.numerator}}}{{{f.denominator}}}",
    lambda f: f"{3 * f.numerator}/{3 * f.denominator}",
    lambda f: f"\\left( {f.numerator} \\right) \\div {f.denominator}",
    lambda f: f"x = {f.numerator} / {f.denominator} \\text{{ cm}}",
    lambda f: f"{f.numerator * 10}e-1/{f.denominator}",
)


@given(fractions, st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS))
def test_one_rational_in_any_two_spellings_is_one_value(f: Fraction, a, b) -> None:
    assert ours(a(f), b(f)) is True


@given(fractions, fractions, st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS))
def test_two_rationals_are_never_one_value(f: Fraction, g: Fraction, a, b) -> None:
    assert ours(a(f), b(g)) is (f == g)


@given(st.integers(2, 60), st.integers(1, 30), st.integers(1, 30))
def test_roots_are_exact(n: int, a: int, b: int) -> None:
    assert ours(f"{a}\\sqrt{{{n}}}", f"\\sqrt{{{a * a * n}}}") is True
    assert ours(f"{a}\\sqrt{{{n}}}", f"{b}\\sqrt{{{n}}}") is (a == b)
    assert (
        ours(f"\\frac{{{n}}}{{\\sqrt{{{n}}}+{a * n}}}", f"\\frac{{\\sqrt{{{n}}}}}{{1+{a}\\sqrt{{{n}}}}}")
        is True
    )


@example("0<a_")
@example("\\begin{")
@example("\\begin")
@example("\\begin{matrix}")
@settings(max_examples=300)
@given(st.text(alphabet="0123456789.,/^*+-=()[]{}\\ xyfracsqrtpiinfty%!:<>_", max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    started = time.perf_counter()
    try:
        value = read(text)
    except Unreadable:
        return
    assert same(value, value, Rules()) is not False
    assert time.perf_counter() - started < CEILING_S


def test_decoys_candidates_and_echoes() -> None:
    assert judge_maths(Reply("Answer: 5", "Answer: 7"), "7").outcome is R
    assert judge_maths(Reply("Answer: 7", "Answer: 5"), "7").outcome is W
    assert judge_maths(Reply("\\boxed{7}", ""), "7").outcome is U
    assert judge_maths(Reply(None, "Is it 3/4 or 2/3?"), "2/3", "Is it 3/4 or 2/3?").outcome is U
    assert judge_maths(Reply(None, "\\boxed{any text at all}"), "7").outcome is W
    for text in (
        "\\boxed{7} \\boxed{8}",
        "7 or 8",
        "6\n7\n8",
        "7, 8",
        " ".join(f"\\boxed{{{n}}}" for n in range(30)),
    ):
        assert judge_maths(Reply(None, text), "7").outcome is W, text
    many = " ".join(f"\\boxed{{7{'.' + '0' * n if n else ''}}}" for n in range(30))
    assert judge_maths(Reply(None, many), "7").outcome is W


def test_disagreements_are_named_and_ours_decides() -> None:
    verdict = judge_maths(Reply(None, "\\boxed{0.1000000001}"), "0.1")
    assert (verdict.outcome, dict(verdict.parts)) == (W, {"disagreed": 1.0})
    assert "ours different, math-verify equal" in verdict.detail
    assert judge_maths(Reply(None, "\\boxed{0.2}"), "0.1").parts == {}
    # what ours can't read is math-verify's to decide
    with pytest.raises(Unreadable):
        read("\\sqrt{2+\\sqrt{3}}")
    nested = compare("\\sqrt{2+\\sqrt{3}}", "\\frac{\\sqrt{6}+\\sqrt{2}}{2}", Rules())
    assert (nested.equal, nested.disagreed) == (True, False)


def test_lenient_takes_the_last_statement() -> None:
    reply = Reply("I think 1/2.", "The answer is 1/3. No, the answer is 1/2.")
    assert judge_maths(reply, "1/2").outcome is W
    assert judge_maths_lenient(reply, "1/2").outcome is R
    assert judge_maths_lenient(Reply(None, "1/3"), "1/2").outcome is W


def test_boxes_with_nested_braces() -> None:
    assert boxed("\\boxed{\\frac{1}{2}} \\boxed {3}") == ["\\frac{1}{2}", "3"]
    assert boxed("\\boxed{\\boxed{2\\sqrt{3}}}") == ["2\\sqrt{3}"]
    assert boxed("\\boxed{\\{1, 2\\}} \\boxed{5") == ["\\{1, 2\\}"]
    assert find_maths("So \\boxed{x = \\frac{\\sqrt{3}}{2}}.").texts == ("x = \\frac{\\sqrt{3}}{2}",)


KILLERS = [
    "\\boxed{5^{5^{5^{5^5}}}}",
    "5^5^5^5^5^5",
    "\\boxed{((((100!)!)!)!)!}",
    "\\boxed{99999999!}",
    "\\boxed{(a+b+c+d+e+f+g)^{64}}",
    "\\boxed{" + "2004!*" * 80 + "1}",
    "\\boxed{" + "+".join(f"1/{n}!" for n in range(1900, 1950)) + "}",
    "\\boxed{" + "(" * 200 + "5" + ")" * 200 + "}",
    "\\boxed{\\int_0^1 e^{e^{e^x}} dx}",
    "\\boxed{\\sum_{n=1}^{10^9} 1/n}",
    "\\boxed{1e999999999999999999}",
    "\\boxed{\\sqrt{" + "9" * 300 + "}}",
    "7" * 100_000,
    "答案 ответ الجواب \\frac{ " * 4_000,
    "$" * 19_999,
    "\\[" * 9_999,
    "\\boxed{" * 2_800,
    "answer: " * 2_400,
    " , because" * 1_900,
    "5\n" * 9_999,
    "is 5 " * 3_900,
]  # fmt: skip


def judged(text: str) -> tuple[Verdict, float]:
    started = time.perf_counter()
    verdict = judge_maths(Reply(None, text), "\\frac{7}{3}", "Compute.")
    return verdict, time.perf_counter() - started


@pytest.mark.parametrize("text", KILLERS, ids=[text[:20] for text in KILLERS])
def test_killers_end_within_a_second_here_in_a_thread_and_beside_asyncio(text: str) -> None:
    results = [judged(text)]
    thread = threading.Thread(target=lambda: results.append(judged(text)))
    thread.start()
    thread.join(60)

    async def beside() -> None:
        results.append(judged(text))
        results.append(await asyncio.get_running_loop().run_in_executor(None, judged, text))

    asyncio.run(beside())
    assert len(results) == 4
    assert all(verdict.outcome is not R for verdict, _ in results)
    assert max(seconds for _, seconds in results) < CEILING_S


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(workers=1, timeout_s=CEILING_S) as judge:
        judge.score([("warm", problem("1/2"), Reply(None, "0.5"))])
        yield judge


def test_killers_never_outrun_a_worker(judge: Judge) -> None:
    verdicts = judge.score([(str(i), problem("7/3"), Reply(None, text)) for i, text in enumerate(KILLERS)])
    assert [verdict.outcome is R for verdict in verdicts.values()] == [False] * len(KILLERS)
    assert judge.retried == judge.deaths == 0


def test_unparseable_answers_keep_the_order(judge: Judge) -> None:
    said = ["\\boxed{1/2}", "no idea", "\\boxed{1/3}", "", "0.5"]
    verdicts = judge.score([(f"id{i}", problem("1/2"), Reply(None, text)) for i, text in enumerate(said)])
    assert [verdicts[f"id{i}"].outcome for i in range(5)] == [R, U, W, U, R]


def test_gold_is_read_when_data_is_loaded(tmp_path: Path) -> None:
    golds = ["\\frac{1}{2}", "5^{5^{5^{5^5}}}", "what you like", "\\frac{1}{0}", "\\boxed{2\\sqrt{3}}", "7"]
    rows = [json.dumps({"question": f"Question {i}?", "answer": gold}) for i, gold in enumerate(golds)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows))
    suite = parse_suite(f"{path}:answer=maths,percent=true")
    assert isinstance(suite.family, FileFamily)
    assert [p.hidden["answer"] for p in suite.family.problems(suite.level)] == [
        "\\frac{1}{2}",
        "2\\sqrt{3}",
        "7",
    ]
    refused = suite.family.refused(suite.level)
    assert refused == {
        "its answer is past the reader's limits": 1,
        "its answer can't be read as a value": 2,
    }
    assert list(suite.family.refused_rows(suite.level).values()) == [[2], [3, 4]]
    auto = parse_suite(str(path))
    assert isinstance(auto.family, FileFamily)
    kinds = [p.hidden["kind"] for p in auto.family.problems(auto.level)]
    assert kinds == ["maths", "exact", "exact", "exact", "maths", "integer"]


@pytest.mark.parametrize("text", ["Paris", "x-ray", "3 pm", "e-mail", "cat, dog", "a", "New York"])
def test_plain_texts_are_not_taken_for_maths(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "What?", "answer": text}))
    suite = parse_suite(str(path))
    assert isinstance(suite.family, FileFamily)
    assert suite.family.problems(suite.level)[0].hidden["kind"] == "exact"


def test_limits_and_refusals() -> None:
    for text in ("9" * 30_000, "2^{99999999}", "6000!", "1e5000"):
        with pytest.raises(TooBig):
            read(text)
    for text in ("6 4", "1/0", "2.5 squared", "less than 3"):
        with pytest.raises(NoValue):
            read(text)
    assert gold_fault("1/2") == ""


@pytest.mark.parametrize("word", ["get", "are", "have", "is", "be", "gives"])
def test_words_that_join_sentences_can_be_answers(word: str) -> None:
    for text in (
        word,
        f"The answer is {word}.",
        f"It is {word}",
        f'The word is "{word}".',
        f"So we get {word}.",
    ):
        assert find_word(text).single == word, text
    assert find_word(f"{word} cat").single is None or find_word(f"{word} cat").single == "cat"
    assert find_word("We get cat.").single == "cat"
    assert find_word("get or have").single is None


def test_choices() -> None:
    for text in (
        "(B)",
        "B.",
        "option B because not A",
        "b",
        "（Ｂ）",
        "答案是B",
        "The answer is not A but B.",
    ):
        assert find_choice(text).single == "B", text
    for text in ("A or B", "The answer is not B.", "A\nB\nC", "The answer is a fish.", "BAD"):
        assert find_choice(text).single is None, text
