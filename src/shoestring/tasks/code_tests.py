"""The tests of a row whose answer is code, in the shapes that data sets have; read once and checked."""

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

ENTRY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
TEST_S = 2.0  # one test's clock, the sandbox's start not counted
TOTAL_S = 3.0  # all tests' clocks together: the judge's own, 5 s an item, must not be the one that ends it


@dataclass(frozen=True)
class CodeTests:
    """entry_point: the function that is called with each input, a list of arguments; empty where each input
    is the text on stdin. tolerance: absolute or relative, for numbers with a point; 0 compares exactly.
    before: code that is run ahead of what is judged (a benchmark's imports). test_s, total_s: the clocks of
    one test and of all; past TOTAL_S a problem has to ask the judge for the time (`base.SCORING_S`)."""

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    entry_point: str = ""
    tolerance: float = 0.0
    before: str = ""
    test_s: float = TEST_S
    total_s: float = TOTAL_S


def checked_tests(row: dict[str, Any]) -> str:
    """The row's tests as JSON, read once and checked. Raises ValueError with why it has none."""
    return tests_text(read_tests(row))


def tests_text(tests: CodeTests) -> str:
    """As JSON, which a scorer reads again. Raises ValueError where there are none or JSON can't hold one."""
    if not tests.inputs:
        raise ValueError("no tests")
    try:
        return json.dumps(tests.__dict__, sort_keys=True)
    except (TypeError, ValueError):
        raise ValueError("a test's value that JSON can't hold") from None


def has_tests(row: dict[str, Any]) -> bool:
    return any(row.get(name) for name in ("tests", "test_list", "input_output")) or (
        bool(row.get("inputs")) and bool(row.get("outputs"))
    )


def read_tests(row: dict[str, Any]) -> CodeTests:
    """In the shapes that data sets have: `tests` (objects, or MBPP's asserts), `inputs` with `outputs`, and
    both in APPS's `input_output`."""
    both = row.get("input_output")
    if isinstance(both, str):
        try:
            both = json.loads(both)
        except ValueError:
            raise ValueError("input_output is not JSON") from None
    both = both if isinstance(both, dict) else row
    entry = str(row.get("entry_point") or row.get("fn_name") or both.get("fn_name") or "")
    if entry and not ENTRY.fullmatch(entry):
        raise ValueError("entry_point is not a function's name")
    tolerance = row.get("tolerance") or 0.0
    if not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise ValueError("tolerance is not a number from 0 to 1")
    listed = row.get("tests") or row.get("test_list")
    if listed:
        return _listed(listed, entry, float(tolerance))
    inputs, outputs = both.get("inputs"), both.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise ValueError("no tests")
    if len(inputs) != len(outputs):
        raise ValueError("as many outputs as inputs are needed")
    given = [_arguments(text) if entry else _lines(text) for text in inputs]
    expected = [_value(text) if entry else _lines(text) for text in outputs]
    return CodeTests(tuple(given), tuple(expected), entry, float(tolerance))


def _listed(listed: Any, entry: str, tolerance: float) -> CodeTests:
    if not isinstance(listed, list):
        raise ValueError("tests is not a list")
    if all(isinstance(test, str) for test in listed):
        names, inputs, outputs = zip(*map(_assertion, listed), strict=True)
        if len({*names, entry or names[0]}) != 1:
            raise ValueError("its asserts call several functions")
        return CodeTests(inputs, outputs, names[0], tolerance)
    keys = ("args", "result") if entry else ("input", "output")
    if not all(isinstance(test, dict) and all(key in test for key in keys) for test in listed):
        raise ValueError(f"a test without {keys[0]} and {keys[1]}")
    if entry and not all(isinstance(test["args"], list) for test in listed):
        raise ValueError("a test's args are not a list")
    clean = (lambda value: value) if entry else _lines
    inputs, outputs = ([clean(test[key]) for test in listed] for key in keys)
    return CodeTests(tuple(inputs), tuple(outputs), entry, tolerance)


def _assertion(text: str) -> tuple[str, list[Any], Any]:
    """`assert f(1, 2) == 3` -> ("f", [1, 2], 3). Compared outside the sandbox, so only values will do."""
    try:
        (line,) = ast.parse(text.strip()).body
        assert isinstance(line, ast.Assert)
        test = line.test
        assert isinstance(test, ast.Compare)
        assert isinstance(test.ops[0], ast.Eq)
        call, (expected,) = test.left, test.comparators
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        assert not call.keywords
        return call.func.id, [ast.literal_eval(a) for a in call.args], ast.literal_eval(expected)
    except (AssertionError, SyntaxError, ValueError, RecursionError):
        raise ValueError("a test that isn't `assert f(values) == value`") from None


def _lines(text: Any) -> str:
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "\n".join(text)
    if not isinstance(text, str):
        raise ValueError("a test's input or output is not text")
    return text


def _arguments(given: Any) -> list[Any]:
    """A list of arguments, or LiveCodeBench's text: one JSON value a line."""
    if isinstance(given, list):
        return given
    if not isinstance(given, str):
        raise ValueError("a test's arguments are not a list")
    return [_value(line) for line in given.splitlines() if line.strip()]


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("a test's value is not JSON") from None
