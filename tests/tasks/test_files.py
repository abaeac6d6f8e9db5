"""Problems from files: the shapes datasets have, and rows that are refused with a counted reason."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.draw import ProblemStream, draw_problems
from shoestring.tasks.files import FileFamily
from shoestring.tasks.suite import Suite, parse_suite, score, score_lenient
from shoestring.text.message import Reply


def write(path: Path, rows: list) -> Path:
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8"
    )
    return path


def loaded(suite: Suite) -> tuple[list[Problem], dict[str, int]]:
    assert isinstance(suite.family, FileFamily)
    return suite.family.problems(suite.level), suite.family.refused(suite.level)


SHAPES = [
    ({"prompt": "1+1?", "answer": "2"}, "integer", "2"),
    ({"question": "1+1?", "answer": 2}, "integer", "2"),
    ({"problem": "1+1?", "solution": "We add: \\boxed{2}"}, "integer", "2"),
    ({"question": "1+1?", "answer": "1 and 1\nmake <<2>>\n#### 2,000"}, "integer", "2000"),
    (
        {
            "prompt": [{"role": "user", "content": "1+1?"}],
            "reward_model": {"style": "rule", "ground_truth": "-2"},
            "data_source": "x",
        },
        "integer",
        "-2",
    ),
    (
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "1+1?"},
                {"role": "assistant", "content": "3"},
            ],
            "answer": "2",
        },
        "integer",
        "2",
    ),
    ({"question": "Capital?", "answer": " Paris. "}, "exact", "paris"),
    ({"question": "Which?", "answer": "(B)"}, "choice", "B"),
    ({"question": "Half?", "answer": "0.5"}, "maths", "0.5"),
]


@pytest.mark.parametrize(("row", "kind", "answer"), SHAPES)
def test_shapes(row: dict, kind: str, answer: str, tmp_path: Path) -> None:
    problems, refused = loaded(parse_suite(str(write(tmp_path / "rows.jsonl", [row]))))
    assert refused == {}
    assert (problems[0].hidden["kind"], problems[0].hidden["answer"]) == (kind, answer)
    assert problems[0].prompt == (
        "Be brief.\n\n1+1?"
        if "messages" in row
        else next(p for p in ("1+1?", "Capital?", "Which?", "Half?") if p in str(row))
    )
    assert score(problems[0], Reply(None, answer)).outcome is Outcome.RIGHT
    assert score(problems[0], Reply(None, f"The answer is {answer}.")).outcome is Outcome.RIGHT
    assert score(problems[0], Reply(None, "7 C London")).outcome is not Outcome.RIGHT
    assert score(problems[0], Reply(answer, "")).outcome is Outcome.UNPARSED


def test_parquet_reads_as_jsonl_does(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i}+1?", "answer": str(i + 1)} for i in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    parquet, _ = loaded(parse_suite(f"{tmp_path / 'rows.parquet'}"))
    jsonl, _ = loaded(parse_suite(str(write(tmp_path / "rows.jsonl", rows))))
    assert [p.id for p in parquet] == [p.id for p in jsonl]
    assert [p.hidden["answer"] for p in parquet] == ["1", "2", "3", "4", "5"]


def test_bad_rows_are_refused_and_counted(tmp_path: Path) -> None:
    good = {"question": "1+1?", "answer": "2"}
    rows = [
        good,
        "{broken",
        "[1]",
        "",
        {"question": "2+2?"},
        {"answer": "3"},
        {"question": "  ", "answer": "3"},
        {"question": "3+3?", "answer": " "},
        {"question": "1+1? ", "answer": "2"},
        {"question": "1+1?", "answer": "3"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "answer": "3"},
    ]
    problems, refused = loaded(parse_suite(str(write(tmp_path / "rows.jsonl", rows))))
    assert [p.prompt for p in problems] == ["1+1?"]
    assert refused == {
        "not a JSON object": 2,
        "no answer, solution or ground truth": 2,
        "no prompt, question, problem or messages": 2,
        "a repeated question": 1,
        "a repeated question with another answer": 1,
        "not exactly one user turn": 1,
    }
    text = str(write(tmp_path / "words.jsonl", [{"question": "x?", "answer": "about 5"}])) + ":answer=integer"
    with pytest.raises(BadInput, match=r"no usable problem: its answer is not an integer \(1\)"):
        draw_problems(parse_suite(text), "test", 1, 0)


def test_a_tenth_of_a_file_is_held_out_or_all_of_it(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(300)]
    path = write(tmp_path / "rows.jsonl", rows)
    suite = parse_suite(str(path))
    trained = {p.id for p in ProblemStream(suite, 0).take(500)}
    with pytest.raises(BadInput, match=r"only (2|3|4)\d distinct held-out"):
        draw_problems(suite, "test", 300, 0)
    assert not trained & {p.id for p in draw_problems(suite, "test", 15, 0)}
    bench = parse_suite(f"{path}:test=all")
    assert len(draw_problems(bench, "test", 300, 0)) == 300
    assert bench.count == 300
    for use in (lambda: draw_problems(bench, "train", 1, 0), lambda: ProblemStream(bench, 0)):
        with pytest.raises(BadInput, match="for testing only"):
            use()
    assert parse_suite(str(bench)).level == bench.level
    assert str(bench) == f"{path}:test=all"


def test_a_users_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "def even(problem, reply):\n    return int(reply.answer) % 2 == 0 and problem.hidden['row']['ok']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = write(tmp_path / "rows.jsonl", [{"question": "An even number?", "ok": True}])
    (problem,), _ = loaded(parse_suite(f"{path}:scorer=mine:even"))
    assert score(problem, Reply(None, "4")).outcome is Outcome.RIGHT
    assert score(problem, Reply(None, "5")).outcome is Outcome.WRONG
    with pytest.raises(ValueError, match="invalid literal"):
        score(problem, Reply(None, "x"))
    with pytest.raises(BadInput, match="scorer"):
        parse_suite(f"{path}:scorer=os.system('x')")


def test_lenient_takes_the_last_line(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"question": "Capital?", "answer": "Paris"}])
    (problem,), _ = loaded(parse_suite(str(path)))
    reply = Reply(None, "France is a country.\nIts capital is Paris.")
    assert score(problem, reply).outcome is Outcome.WRONG
    assert score_lenient(problem, reply).outcome is Outcome.RIGHT
    assert score_lenient(problem, Reply(None, "Rome")).outcome is Outcome.WRONG


def test_files_that_are_not_files(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(BadInput, match="is not a Parquet file"):
        draw_problems(parse_suite(str(tmp_path / "bad.parquet")), "test", 1, 0)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(BadInput, match="it is empty"):
        draw_problems(parse_suite(str(tmp_path / "empty.jsonl")), "test", 1, 0)
    with pytest.raises(BadInput, match="no such file of problems"):
        parse_suite(str(tmp_path / "none.jsonl"))
