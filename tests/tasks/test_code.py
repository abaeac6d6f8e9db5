# ruff: noqa: E501, a short program is easier to read on one line
"""Code judged by tests: what is right, what is said of what isn't, and that a pass can't be forged."""

import json
from pathlib import Path

import pytest

from shoestring.errors import BadInput
from shoestring.tasks import code, isolated, sandbox
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.code import find_code, judge_code, same_output, same_value
from shoestring.tasks.code_tests import checked_tests
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.files import FileFamily
from shoestring.tasks.judge import Judge
from shoestring.tasks.sandbox import WAYS, SandboxFailed, missing
from shoestring.tasks.suite import parse_suite, score
from shoestring.text.message import Reply

pytestmark = pytest.mark.skipif(all(missing(way) for way in WAYS), reason="nothing isolates here")

ADD = checked_tests(
    {"tests": [{"args": [1, 2], "result": 3}, {"args": [5, 5], "result": 10}], "entry_point": "add"}
)
SUM = checked_tests({"inputs": ["1 2\n", "5 5\n"], "outputs": ["3\n", "10\n"]})


def judged(source: str, text: str) -> Verdict:
    return judge_code(Reply(None, f"Here:\n```python\n{source}\n```\n"), text)


def test_a_function() -> None:
    assert judged("def add(a, b): return a + b", ADD) == Verdict(Outcome.RIGHT, 1.0, {"passed": 1.0})
    half = judged("def add(a, b): return 3", ADD)
    assert (half.outcome, half.value, half.parts) == (Outcome.WRONG, 0.0, {"passed": 0.5})
    assert half.detail == "test 2 of 2: add('[5, 5]') gave '3', not '10'"


def test_text_in_and_out() -> None:
    assert judged("a, b = map(int, input().split())\nprint(a + b, ' ')", SUM).outcome is Outcome.RIGHT
    half = judged("print(3)", SUM)
    assert (half.outcome, half.parts) == (Outcome.WRONG, {"passed": 0.5})
    assert half.detail == r"test 2 of 2: printed '3\n', not '10\n'"


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("def add(a, b): raise KeyError('no')", "test 1 of 2: raised \"KeyError: 'no'\""),
        ("def other(a, b): return a + b", "has no attribute 'add'"),
        ("def add(a, b): return {1, 2}", "raised 'TypeError: Object of type set is not JSON"),
        ("def add(a, b)\n  return", "SyntaxError"),
        ("def add(a, b):\n  while True: pass", "test 1 of 2: ran past its"),
        ("def add(a, b): return bytearray(1 << 40)", "raised 'MemoryError: '"),
        ("import os\ndef add(a, b): os.kill(os.getpid(), 9)", "test 1 of 2: was ended by signal 9"),
        ("def add(a, b):\n  while True: print('x' * 10000)", "printed more than it may"),
        ("import sys\ndef add(a, b): sys.exit()", "its process ended before"),
    ],
)
def test_what_happened_is_said(source: str, detail: str) -> None:
    verdict = judged(source, ADD)
    assert verdict.outcome is Outcome.WRONG
    assert detail in verdict.detail, verdict.detail


def test_the_tests_that_a_timeout_leaves_no_time_for() -> None:
    many = checked_tests({"inputs": ["1"] * 4, "outputs": ["1"] * 4})
    verdict = judged("while True: pass", many)
    assert verdict.outcome is Outcome.WRONG
    assert verdict.detail == "test 1 of 4: ran past its 2.0 s"
    slow_end = judged("import time\nprint(1, flush=True)\nwhile True: time.sleep(1)", many)
    assert slow_end.parts == {"passed": 0.0}


FORGERIES = {
    "equal to everything": """
class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __repr__(self): return '3'
def add(a, b): return Any()
""",
    "an int that equals all": """
class Any(int):
    def __eq__(self, other): return True
def add(a, b): return Any(7)
""",
    "leaves with success": "import os\nos._exit(0)",
    "leaves in the call": "import os\ndef add(a, b): os._exit(0)",
    "sys.exit": "raise SystemExit(0)",
    "patches builtins": """
import builtins, json, operator
builtins.all = builtins.any = lambda *a: True
json.loads = lambda *a, **k: None
operator.eq = lambda a, b: True
def add(a, b): return None
""",
    "patches the encoder": """
import json, sys
json.dumps = sys.modules['json'].dumps = lambda *a, **k: '[0, "value", true]'
json.JSONEncoder.default = lambda self, o: True
def add(a, b): return object()
""",
    "looks for what is expected": """
import gc, sys
frame, found = sys._getframe(), []
while frame:
    found += [v for v in frame.f_locals.values()]
    frame = frame.f_back
text = repr([o for o in gc.get_objects() if isinstance(o, (list, tuple, dict, str))]) + repr(found)
def add(a, b): return 'expected' if 'outputs' in text or '[3, 10]' in text else None
""",
    "reads files": """
import os
text = ''
for root, _, names in os.walk('/work'):
    for name in names: text += open(os.path.join(root, name)).read()
def add(a, b): return text
""",
    "writes verdicts into every descriptor": """
import os
for fd in range(3, 64):
    for line in (b'right\\n', b'[0, "right", true]\\n', b'{"outcome": "right", "value": 1.0}\\n'):
        try: os.write(fd, line)
        except OSError: pass
def add(a, b): return None
""",
    "overrides print": "import builtins\nbuiltins.print = lambda *a: None\ndef add(a, b): print('3')",
    "swaps the main module": "import sys\nsys.modules['__main__'] = None\ndef add(a, b): return True",
    "a trace that changes results": """
import sys
def trace(frame, event, arg):
    frame.f_locals['passed'] = True
    return trace
sys.settrace(trace)
def add(a, b): return None
""",
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("text", [ADD, SUM], ids=["function", "stdin"])
def test_a_pass_cannot_be_forged(name: str, text: str) -> None:
    verdict = judged(FORGERIES[name], text)
    assert (verdict.outcome, verdict.parts) == (Outcome.WRONG, {"passed": 0.0}), verdict


def test_a_line_that_the_code_writes_itself_is_its_answer_and_no_verdict() -> None:
    source = "import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'[0, \"value\", 4]\\n')\n  except OSError: pass\ndef add(a, b): return a + b"
    verdict = judged(source, ADD)
    assert verdict.outcome is Outcome.WRONG
    assert "gave '4', not '3'" in verdict.detail


def test_a_sandbox_that_fails_is_an_error_and_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    code.sandbox()

    def fails(*_: object) -> None:
        raise SandboxFailed("no room")

    monkeypatch.setattr(sandbox, "run_isolated", fails)
    for text in (ADD, SUM):
        with pytest.raises(SandboxFailed):
            judged("def add(a, b): return a + b", text)


FOUND = [
    ("```python\nx = 1\n```", "x = 1\n"),
    ("```\nx = 1\n```", "x = 1\n"),
    ("First\n```py\nx = 1\n```\nthen\n```python\nx = 2\n```\ndone", "x = 2\n"),
    ("```python\nx = 1\n```\nIt prints\n```text\n1\n```", "x = 1\n"),
    ("import sys\nprint(1)", "import sys\nprint(1)"),
    ("print(1)", "print(1)"),
    ("42", None),
    ("hello", None),
    ("The answer is 42.", None),
    ("", None),
    ("```python\nx = 1", None),  # never closed: it was cut
    ("```python\n\n```", None),
    ("x = `1`", None),
    ("(" * 5000, None),
    ("```python\n" + "x" * 200_000 + "\n```", None),
]


@pytest.mark.parametrize(("text", "found"), FOUND)
def test_where_the_code_is(text: str, found: str | None) -> None:
    assert find_code(text) == found


def test_thinking_is_never_read() -> None:
    reply = Reply("```python\ndef add(a, b): return a + b\n```", "I don't know.")
    assert judge_code(reply, ADD).outcome is Outcome.UNPARSED


def test_comparing() -> None:
    assert same_output("1  2 \n3\n\n", "1 2\n3")
    assert not same_output("1 2 3", "1 2\n3")
    assert not same_output("1.0", "1")
    assert same_output("0.3333333", "0.33333334", tolerance=1e-6)
    assert not same_output("0.34", "0.33", tolerance=1e-6)
    assert not same_output("x", "0.33", tolerance=1e-6)
    assert same_value(2, 2.0)
    assert not same_value(True, 1)
    assert not same_value(0.1 + 0.2, 0.3)
    assert same_value([{"a": 0.1 + 0.2}], [{"a": 0.3}], tolerance=1e-9)
    assert not same_value([1, 2], [1])
    assert not same_value("1", 1)
    assert not same_value(10**400, 0.5, tolerance=0.1)


READ = [
    ({"tests": ["assert f(1, [2]) == (3, 4)"]}, [[1, [2]]], [[3, 4]], "f"),
    ({"test_list": ["assert f('a')=='b'", "assert f(-1) == None"]}, [["a"], [-1]], ["b", None], "f"),
    ({"tests": [{"input": "1", "output": "2"}]}, ["1"], ["2"], ""),
    ({"inputs": ["1", ["2", "3"]], "outputs": ["4", "5"]}, ["1", "2\n3"], ["4", "5"], ""),
    ({"input_output": '{"inputs": [[1]], "outputs": [2], "fn_name": "f"}'}, [[1]], [2], "f"),
    (
        {"inputs": ["[1, 2]\n3"], "outputs": ["[3]"], "entry_point": "Solution.f"},
        [[[1, 2], 3]],
        [[3]],
        "Solution.f",
    ),
]


@pytest.mark.parametrize(("row", "inputs", "outputs", "entry"), READ)
def test_shapes_of_tests(row: dict, inputs: list, outputs: list, entry: str) -> None:
    read = json.loads(checked_tests(row))
    assert (read["inputs"], read["outputs"], read["entry_point"]) == (inputs, outputs, entry)


BAD = [
    ({}, "no tests"),
    ({"tests": "assert f(1) == 2"}, "tests is not a list"),
    ({"tests": ["assert f(1)"]}, "isn't `assert f"),
    ({"tests": ["assert f(x) == 2"]}, "isn't `assert f"),
    ({"tests": ["assert f(1) == 2", "assert g(1) == 2"]}, "several functions"),
    ({"tests": ["assert f(1) == {1, 2}"]}, "JSON can't hold"),
    ({"tests": [{"input": "1"}]}, "a test without input and output"),
    ({"tests": [{"args": 1, "result": 1}], "entry_point": "f"}, "args are not a list"),
    ({"inputs": ["1"], "outputs": ["1", "2"]}, "as many outputs"),
    ({"inputs": [1], "outputs": ["1"]}, "not text"),
    ({"inputs": ["{"], "outputs": ["1"], "entry_point": "f"}, "not JSON"),
    ({"input_output": "{"}, "input_output is not JSON"),
    ({"tests": [{"args": [], "result": 1}], "entry_point": "import os"}, "not a function's name"),
    ({"inputs": ["1"], "outputs": ["1"], "tolerance": "much"}, "tolerance is not a number"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_rows_without_usable_tests(row: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        checked_tests(row)


def rows(path: Path, rows: list[dict]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_a_file_of_code_through_the_judge(tmp_path: Path) -> None:
    good = [
        {"prompt": "Add.", "tests": ["assert add(1, 2) == 3"]},
        {"prompt": "Echo.", "inputs": ["hi"], "outputs": ["hi"]},
        {"prompt": "A number?", "answer": "4"},
    ]
    bad = [{"prompt": "Bad.", "tests": ["assert add(1)"]}, {"prompt": "Worse.", "tests": ["assert add(2)"]}]
    suite = parse_suite(rows(tmp_path / "code.jsonl", [*good, *bad]))
    family = suite.family
    assert isinstance(family, FileFamily)
    problems = family.problems(suite.level)
    assert [p.hidden["kind"] for p in problems] == ["code", "code", "integer"]
    assert list(family.refused_rows(suite.level).values()) == [[4, 5]]
    answers = ["```python\ndef add(a, b): return a + b\n```", "print(input())", "4"]
    asked = [(str(i), p, Reply(None, a)) for i, (p, a) in enumerate(zip(problems, answers, strict=True))]
    asked.append(("hang", problems[1], Reply(None, "while True: pass")))
    asked.append(("none", problems[0], Reply(None, "no idea")))
    with Judge(workers=1) as judge:
        verdicts = judge.score(asked)
    assert [verdicts[k].outcome.value for k in ("0", "1", "2", "hang", "none")] == [
        *["right"] * 3,
        "wrong",
        "unparsed",
    ]
    assert judge.retried == judge.deaths == 0  # the sandbox's clock ended it, not the judge's
    only_bad = parse_suite(rows(tmp_path / "bad.jsonl", bad))
    with pytest.raises(BadInput, match=r"\(2\) in rows 1, 2"):
        draw_problems(only_bad, "test", 1, 0)


def test_a_file_of_code_is_refused_where_nothing_isolates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(program: object, limits: object, way: str) -> isolated.Ran:
        raise SandboxFailed("not allowed here")

    monkeypatch.setattr(sandbox, "run_isolated", none)
    missing.cache_clear()
    code.sandbox.cache_clear()
    suite = parse_suite(
        rows(tmp_path / "code.jsonl", [{"prompt": "Add.", "tests": ["assert add(1, 2) == 3"]}])
    )
    try:
        assert isinstance(suite.family, FileFamily)
        with pytest.raises(BadInput, match="can't isolate code"):
            suite.family.problems(suite.level)
    finally:
        missing.cache_clear()


def test_scoring_in_this_process(tmp_path: Path) -> None:
    suite = parse_suite(
        rows(tmp_path / "code.jsonl", [{"prompt": "Echo.", "inputs": ["hi"], "outputs": ["hi"]}])
    )
    assert isinstance(suite.family, FileFamily)
    (problem,) = suite.family.problems(suite.level)
    assert isinstance(problem, Problem)
    assert score(problem, Reply(None, "print(input())")).outcome is Outcome.RIGHT
