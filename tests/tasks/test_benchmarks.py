"""Public benchmarks' files, as they are published, with samples of our own making."""

import base64
import csv
import json
import pickle
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput
from shoestring.tasks.base import GOLD, SCORING_S, Outcome, Problem, Verdict
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.sandbox import WAYS, missing
from shoestring.tasks.suite import parse_suite, refused_rows, score, score_lenient
from shoestring.text.message import Reply


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def problems(text: str) -> list[Problem]:
    suite = parse_suite(text)
    assert suite.only_tests
    assert str(parse_suite(str(suite))) == str(suite)
    assert suite.count
    found = {p.key: p for p in draw_problems(suite, "test", suite.count, 0)}
    return [found[key] for key in (p.key for p in suite.family.problems(suite.level))]


def said(problem: Problem, answer: str, reasoning: str | None = None) -> Verdict:
    return score(problem, Reply(reasoning, answer))


def test_aime_in_its_three_shapes(tmp_path):
    """answer as a text with zeros, as a number, and in the solution's last box; field names in capitals."""
    path = lines(
        tmp_path / "aime.jsonl",
        {"ID": "2099-I-1", "Problem": "Six times five plus three?", "Solution": "It is.", "Answer": "033"},
        {"id": 2, "problem": "Nine squared?", "answer": 81, "url": "https://example.org", "year": "2099"},
        {"problem": "Ten tens?", "solution": "First $\\boxed{10}$, then $\\boxed{100}$.", "url": ""},
    )
    first, second, third = problems(f"aime:{path}")
    assert first.prompt.startswith("Six times five plus three?\n\nPlease reason step by step")
    assert [p.hidden["answer"] for p in (first, second, third)] == [33, 81, 100]
    right = said(first, "So it is \\boxed{033}.", "It may be \\boxed{7}.")
    assert (right.outcome, right.said) == (Outcome.RIGHT, "33")
    assert said(first, "It is \\boxed{34}.").outcome is Outcome.WRONG
    assert said(first, "", "\\boxed{33}").outcome is Outcome.UNPARSED
    assert score_lenient(first, Reply("So \\boxed{33}", "")).outcome is Outcome.RIGHT


@pytest.mark.parametrize(
    ("name", "row", "why"),
    [
        ("aime", {"problem": "p", "answer": "1000"}, "1000 is not from 0 to 999"),
        ("aime", {"problem": "p", "answer": "x + 1"}, "not a whole number"),
        ("aime", {"problem": "p", "solution": "It is 7."}, "no answer, and its solution has no"),
        ("aime", {"answer": "7"}, "no problem or question"),
        ("gsm8k", {"question": "q", "answer": "It is 7."}, "its answer has no ####"),
        ("math500", {"problem": "p", "answer": ""}, "no answer and no solution"),
        (
            "gpqa",
            {"Question": "q", "Correct Answer": "a", "Incorrect Answer 1": "b"},
            "no incorrect_answer_2",
        ),
        ("ifeval", {"prompt": "p", "instruction_id_list": ["a:b"], "kwargs": []}, "not one object for each"),
        ("ifeval", {"prompt": "p", "instruction_id_list": [], "kwargs": []}, "no instruction_id_list"),
        (
            "ifeval",
            {"prompt": "p", "instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]},
            "did you mean 'punctuation:no_comma'",
        ),
        (
            "ifeval",
            {
                "prompt": "p",
                "instruction_id_list": ["startend:end_checker"],
                "kwargs": [{"end_phrase": None}],
            },
            "startend:end_checker needs end_phrase",
        ),
        ("livecodebench", {"question_content": "q", "public_test_cases": "[", "metadata": "{}"}, "not JSON"),
    ],
)
def test_a_bad_row_refuses_the_file_by_its_number_and_reason(tmp_path, name, row, why):
    path = lines(tmp_path / "b.jsonl", {"x": 1}, row)
    with pytest.raises(BadInput, match=f"b.jsonl: row 1: no .*; row 2: .*{why}.*skip=true"):
        parse_suite(f"{name}:{path}").count  # noqa: B018


def test_bad_rows_can_be_left_out_and_are_named(tmp_path):
    path = tmp_path / "g.jsonl"
    path.write_text('{"question": "How many?", "answer": "Two and two. #### 1,004"}\n["no row"]\nnot json\n')
    suite = parse_suite(f"gsm8k:{path}:skip=true")
    (only,) = problems(str(suite))
    assert refused_rows(suite) == {"not a JSON object": [2, 3]}
    assert only.hidden["answer"] == 1004
    assert said(only, "#### 1004").outcome is Outcome.RIGHT
    with pytest.raises(BadInput, match="for testing only"):
        draw_problems(suite, "train", 1, 0)


def test_a_question_that_stands_twice_is_asked_twice(tmp_path):
    row = {"question": "How many?", "answer": "#### 3"}
    assert len({p.id for p in problems(f"gsm8k:{lines(tmp_path / 'g.jsonl', row, row)}")}) == 2


def test_math500_compares_values_and_texts(tmp_path):
    path = tmp_path / "m.parquet"
    rows = [
        {"problem": "A half?", "solution": "", "answer": "\\frac{1}{2}", "subject": "Algebra", "level": 1},
        {"problem": "Who?", "solution": "", "answer": "\\text{Ada}", "subject": "Algebra", "level": 2},
        {"problem": "Which?", "solution": "So \\boxed{(3,4]}.", "answer": None, "subject": "A", "level": 5},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    half, who, which = problems(f"math500:{path}")
    assert said(half, "\\boxed{0.5}").outcome is Outcome.RIGHT
    assert said(half, "\\boxed{0.5}").said == said(half, "It is $\\boxed{\\tfrac12}$").said != ""
    assert said(half, "\\boxed{0.25}").said != said(half, "\\boxed{0.5}").said
    assert said(who, "\\boxed{\\text{Ada}}").outcome is Outcome.RIGHT
    assert said(who, "\\boxed{Bob}").outcome is Outcome.WRONG
    assert said(which, "\\boxed{(3, 4]}").outcome is Outcome.RIGHT


def gpqa_rows(number: int) -> list[dict[str, str]]:
    wrong = {f"Incorrect Answer {i}": f"wrong {i}" for i in (1, 2, 3)}
    return [
        {"Question": f"Which one, in case {i}?", "Correct Answer": "the one", **wrong} for i in range(number)
    ]


def test_gpqas_options_are_placed_by_a_key(tmp_path):
    path = tmp_path / "gpqa.csv"
    rows = gpqa_rows(60)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = problems(f"gpqa:{path}")
    letters = [p.hidden["answer"] for p in found]
    assert set(letters) == set("ABCD")
    assert max(map(letters.count, "ABCD")) < 30
    for problem, letter in zip(found, letters, strict=True):
        assert f"\n{letter}) the one\n" in problem.prompt
    assert said(found[0], f"\\boxed{{{letters[0]}}}").outcome is Outcome.RIGHT
    fewer = lines(tmp_path / "fewer.jsonl", *rows[::-1][:10])  # another file, in another order
    again = {p.key: p.prompt for p in problems(f"gpqa:{fewer}")}
    assert again == {p.key: p.prompt for p in found if p.key in again}
    assert letters != [p.hidden["answer"] for p in problems(f"gpqa:{path}:order=1")]
    twice = lines(tmp_path / "twice.jsonl", {**rows[0], "Incorrect Answer 2": "the  one"})
    with pytest.raises(BadInput, match="row 1: two of its options are the same"):
        problems(f"gpqa:{twice}")


CASES = [{"input": "2 3\n", "output": "5\n", "testtype": "stdin"}]
HIDDEN = [{"input": "20 -3\n", "output": "17\n", "testtype": "stdin"}]


def packed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def code_row(**values: object) -> dict[str, object]:
    row = {"question_content": "Add two numbers.", "starter_code": "", "platform": "atcoder"}
    row |= {"contest_date": "2099-03-04T00:00:00", "difficulty": "easy", "metadata": "{}"}
    return (
        row
        | {"public_test_cases": json.dumps(CASES), "private_test_cases": packed(json.dumps(HIDDEN))}
        | values
    )


def test_livecodebench_reads_a_pickled_text_without_unpickling(tmp_path):
    path = lines(
        tmp_path / "l.jsonl",
        code_row(),
        code_row(question_content="Plain.", private_test_cases=json.dumps(HIDDEN)),
    )
    first, second = problems(f"livecodebench:{path}")
    tests = json.loads(first.hidden["answer"])
    assert (tests["inputs"], tests["outputs"]) == (["2 3\n", "20 -3\n"], ["5\n", "17\n"])
    assert json.loads(second.hidden["answer"])["outputs"] == ["5\n", "17\n"]
    assert first.hidden[SCORING_S] > 60
    assert "stdin" in first.prompt


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("value", ["bomb", ["a", "list"], ("two", "texts")])
def test_a_pickle_of_anything_else_is_refused_and_not_run(tmp_path, value):
    ran = tmp_path / "ran"
    held = Bomb(ran) if value == "bomb" else value
    path = lines(tmp_path / "l.jsonl", code_row(private_test_cases=packed(held)))
    with pytest.raises(BadInput, match=r"row 1: .*pickle of more than a text, which is never unpickled"):
        problems(f"livecodebench:{path}")
    assert not ran.exists()
    (public,) = problems(f"livecodebench:{path}:tests=public")
    assert public.hidden[GOLD].startswith("1 tests, sha256 ")


def test_livecodebenchs_window_and_difficulty(tmp_path):
    rows = [
        code_row(question_content=f"q{m}", contest_date=f"2099-0{m}-15", difficulty=d)
        for m, d in ((1, "easy"), (2, "hard"), (3, "easy"))
    ]
    path = lines(tmp_path / "l.jsonl", *rows)
    assert [p.key for p in problems(f"livecodebench:{path}:after=2099-01-16")] == ["q2", "q3"]
    assert [p.key for p in problems(f"livecodebench:{path}:before=2099-02-15,difficulty=easy")] == ["q1"]
    with pytest.raises(BadInput, match="no problem of"):
        problems(f"livecodebench:{path}:after=2100-01-01")


@pytest.mark.skipif(all(missing(way) for way in WAYS), reason="nothing isolates here")
def test_livecodebenchs_programs_and_functions_run_in_the_sandbox(tmp_path):
    starter = "class Solution:\n    def total(self, numbers: List[int], sign: int) -> int:\n        "
    cases = [{"input": "[1, 2]\n-1", "output": "-3", "testtype": "functional"}]
    function = code_row(question_content="Sum.", starter_code=starter, metadata='{"func_name": "total"}')
    function |= {"public_test_cases": json.dumps(cases), "private_test_cases": json.dumps(cases)}
    program, method = problems(f"livecodebench:{lines(tmp_path / 'l.jsonl', code_row(), function)}")
    assert starter.strip() in method.prompt
    with Judge(workers=1) as judge:
        verdicts = judge.score(
            [
                ("a", program, Reply(None, "```python\na, b = map(int, input().split())\nprint(a + b)\n```")),
                ("b", program, Reply(None, "```python\nprint(5)\n```")),
                ("c", method, Reply(None, f"```python\n{starter}return sign * sum(numbers)\n```")),
                ("d", method, Reply(None, "I don't know.")),
            ]
        )
    outcomes = [verdicts[name].outcome for name in "abcd"]
    assert outcomes == [Outcome.RIGHT, Outcome.WRONG, Outcome.RIGHT, Outcome.UNPARSED]
    assert verdicts["b"].parts["passed"] == 0.5


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ("aimee:none.jsonl", "no benchmark 'aimee' .*did you mean 'aime'"),
        ("aime:none.jsonl", "aime: no such file: none.jsonl"),
        ("aime", "say which file holds it"),
        ("amie", "did you mean 'aime'"),
        ("gpqa:{tmp}/x.txt", "none of .jsonl, .parquet, .csv"),
        ("aime:{tmp}/a.jsonl:skp=true", "did you mean 'skip'"),
    ],
)
def test_what_isnt_there_is_named(tmp_path, suite, words):
    (tmp_path / "x.txt").write_text("")
    lines(tmp_path / "a.jsonl", {"problem": "p", "answer": 1})
    with pytest.raises(BadInput, match=words):
        parse_suite(suite.format(tmp=tmp_path))
