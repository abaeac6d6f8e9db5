"""A user's own task as one file, and the examples of docs/own-tasks.md as they stand there."""

import json
import random
import re
from pathlib import Path

import pytest
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs.origins import require_problems
from shoestring.jobs.show import ShowSettings
from shoestring.jobs.show import main as show
from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import ProblemStream, draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.own import load_task, own_family
from shoestring.tasks.suite import Suite, file_origins, parse_suite, refused_rows, score
from shoestring.tasks.worked import worked_messages
from shoestring.text.message import Reply

PAGE = (Path(__file__).parents[2] / "docs" / "own-tasks.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PYTHON = [body for language, body in EXAMPLES if language == "python"]
ROWS = [body for language, body in EXAMPLES if language == "json"]
SCORE = "def score(problem, reply): return reply.answer == problem.hidden['answer']\n"


@pytest.fixture(autouse=True)
def files_are_read_anew() -> None:
    own_family.cache_clear()
    load_task.cache_clear()


@pytest.fixture
def months(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.chdir(tmp_path)
    Path("my_task.py").write_text(PYTHON[0])
    return parse_suite("my_task.py")


def test_the_pages_file_is_twenty_lines_or_fewer() -> None:
    assert len([line for line in PYTHON[0].splitlines() if line.strip()]) <= 20


def test_the_pages_file_is_a_suite(months: Suite) -> None:
    assert months.count == 12 * 24
    assert parse_suite("my_task.py:max_shift=60").count == 12 * 60
    wide = parse_suite("my_task.py:test=all,max_shift=60")
    assert str(wide) == "my_task.py:max_shift=60,test=all"
    assert wide.only_tests
    with pytest.raises(BadInput, match="unknown setting 'max_shfit', did you mean 'max_shift'"):
        parse_suite("my_task.py:max_shfit=2")
    test = {p.id for p in draw_problems(months, "test", 14, 0)}
    assert not test & {p.id for p in ProblemStream(months, 0).take(600)}


def test_its_replies_are_judged_in_the_workers(months: Suite) -> None:
    problems = draw_problems(months, "test", 2, 0)
    right = [(f"right {i}", p, Reply("so", f" {p.hidden['answer']}.")) for i, p in enumerate(problems)]
    wrong = [(f"wrong {i}", p, Reply(p.hidden["answer"], "I don't know")) for i, p in enumerate(problems)]
    with Judge(workers=1) as judge:
        verdicts = judge.score([*right, *wrong])
    assert {name: verdict.outcome.value for name, verdict in verdicts.items()} == {
        "right 0": "right",
        "right 1": "right",
        "wrong 0": "wrong",
        "wrong 1": "wrong",
    }


def test_its_worked_solutions_are_right_and_trainable(months: Suite) -> None:
    for problem in ProblemStream(months, 0).take(5):
        turn = worked_messages(problem, "key")[-1]
        assert "whole years" in turn.get("reasoning_content", "")
        assert score(problem, Reply(None, turn["content"])).outcome is Outcome.RIGHT


def test_show(months: Suite) -> None:
    shown = show(ShowSettings(target="my_task.py", n=2), Console(quiet=True))
    assert shown["count"] == 288
    assert all("whole years" in example["reasoning"] for example in shown["examples"])


def test_where_a_file_lies_does_not_decide_what_is_held_out(months: Suite) -> None:
    absolute = parse_suite(str(Path("my_task.py").resolve()))
    assert {p.id for p in draw_problems(absolute, "test", 10, 0)} == {
        p.id for p in draw_problems(months, "test", 10, 0)
    }


def test_the_pages_rows_and_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("capitals.jsonl").write_text(ROWS[0])
    Path("capitals.py").write_text(PYTHON[1])
    suite = parse_suite("capitals.jsonl:scorer=capitals:mark,test=all")
    france, bolivia = sorted(draw_problems(suite, "test", 2, 0), key=lambda p: "Bolivia" in p.prompt)
    assert score(france, Reply(None, "It is Paris.")).outcome is Outcome.RIGHT
    assert score(bolivia, Reply(None, "La Paz")).outcome is Outcome.RIGHT
    assert score(bolivia, Reply(None, "Paris")).outcome is Outcome.WRONG


def test_the_pages_rows_with_tests_and_schema(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS[1])
    suite = parse_suite(f"{tmp_path / 'rows.jsonl'}:test=all")
    assert {p.hidden["kind"] for p in draw_problems(suite, "test", 2, 0)} == {"code", "json"}


GOOD = "{'prompt': 'a?', 'answer': 'a'}"
BAD = [
    ("def problems(): return []\n" + SCORE, r"problems\(\) gives no problem"),
    (f"def problems():\n    yield {GOOD}\n    yield {{'answer': 'b'}}\n" + SCORE, "row 2: no prompt"),
    (f"def problems():\n    yield {GOOD}\n    yield {{'prompt': ' '}}\n" + SCORE, "row 2: no prompt"),
    (f"def problems():\n    yield {GOOD}\n    yield 7\n" + SCORE, "row 2: neither a dict"),
    (
        f"def problems():\n    yield {GOOD}\n    1 / 0\n" + SCORE,
        r"row 2: problems\(\) raised ZeroDivisionError.*line 3",
    ),
    ("def problems():\n    yield {'prompt': 'a', 'f': lambda: 1}\n" + SCORE, "row 1: can't go to the judge"),
    ("def problems():\n    yield {'prompt': 'a', 'hidden': 1}\n" + SCORE, "row 1: its hidden part is int"),
    ("def problems(n): return []\n" + SCORE, r"problems\(n\) needs a default"),
    (SCORE, "has no function problems"),
    ("def problems(): return []\n", "has no function score"),
    ("import nothing_like_this\n", "can't be imported: ModuleNotFoundError.*line 1"),
    ("def problems(:\n", r"can't be imported: SyntaxError.*line 1"),
]


@pytest.mark.parametrize(("source", "says"), BAD)
def test_mistakes_name_the_file_and_the_row(source: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad_task.py"
    path.write_text(source)
    with pytest.raises(BadInput, match=f"bad_task.py.*{says}"):
        draw_problems(parse_suite(str(path)), "train", 1, 0)


def test_no_such_file_and_no_worked(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such task file"):
        parse_suite(str(tmp_path / "none.py"))
    (tmp_path / "task.py").write_text(f"def problems(): return [{GOOD}, {GOOD}]\n" + SCORE)
    suite = parse_suite(f"{tmp_path / 'task.py'}:test=all")
    assert refused_rows(suite) == {"a repeated question": [2]}
    with pytest.raises(BadInput, match=r"has no worked solutions: give it a function worked\(problem\)"):
        suite.family.worked(draw_problems(suite, "test", 1, 0)[0], random.Random(0))


def test_objects_marks_and_what_a_scorer_raises(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    prompt: str\n    gold: int\n"
        "def problems(): return [P('one?', 1)]\n"
        "def score(problem, reply): return {'half': 0.5, 'full': 1, 'none': None}[reply.answer]\n"
    )
    suite = parse_suite(f"{tmp_path / 'task.py'}:test=all")
    (problem,) = draw_problems(suite, "test", 1, 0)
    assert problem.hidden["gold"] == 1
    with Judge(workers=1) as judge:
        verdicts = judge.score([(a, problem, Reply(None, a)) for a in ("half", "full", "none", "other")])
    assert [v.outcome.value for v in verdicts.values()] == ["wrong", "right", "error", "error"]
    assert json.dumps(dict(verdicts["half"].parts)) == '{"mark": 0.5}'


def test_problems_that_a_model_wrote_say_so(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(
        "def problems(teacher='', licence=''):\n"
        "    yield {'prompt': 'made here', 'answer': '1'}\n"
        "    yield {'prompt': 'found', 'answer': '2', 'teacher': teacher, 'licence': licence}\n" + SCORE
    )
    made, found = file_origins(parse_suite(f"{tmp_path / 'task.py'}:teacher=gpt-4,licence=MIT"))
    assert (made.teacher, made.licence) == (None, "unknown")
    assert (found.source, found.teacher, found.licence) == ("file:task.py", "gpt-4", "MIT")
    require_problems([parse_suite(str(tmp_path / "task.py"))])
    for values, said in (
        ("teacher=gpt-4,licence=MIT", "OpenAI bars"),
        ("teacher=Qwen3-8B", "problems without a licence"),
    ):
        with pytest.raises(BadInput, match=said):
            require_problems([parse_suite(f"{tmp_path / 'task.py'}:{values}")])
    require_problems([parse_suite(f"{tmp_path / 'task.py'}:teacher=Qwen3-8B,licence=MIT")])
