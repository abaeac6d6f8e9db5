"""Problems whose answer is Python, checked by tests: text in and text out, or a function and what it returns.

The code runs in a sandbox that never holds what is expected: outputs and results come back as data and are
compared here. So a pass can't be forged: whatever the code prints, patches or writes to the results' channel
is only another answer. Its own time running out, or a crash, is WRONG; a sandbox that fails is an ERROR.
"""

import ast
import json
import math
import re
from functools import cache
from typing import Any

from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.code_tests import TOTAL_S, CodeTests
from shoestring.tasks.sandbox import Limits, Ran, Sandbox, Status
from shoestring.text.message import Reply

SOURCE_CHARS = 100_000
FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+-]*)[^\n]*\n(.*?)^ {0,3}```[ \t]*$", re.DOTALL | re.MULTILINE)
PYTHON = ("", "python", "py", "python3")


def find_code(text: str) -> str | None:
    """The last closed fenced block of Python, or the whole text where it is nothing but code."""
    blocks = [body for language, body in FENCE.findall(text) if language.lower() in PYTHON]
    if blocks:
        return blocks[-1] if len(blocks[-1]) <= SOURCE_CHARS and blocks[-1].strip() else None
    if "```" in text or len(text) > SOURCE_CHARS:
        return None
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    # a word or a number is an expression too
    said = [line for line in lines if not isinstance(line, ast.Expr) or isinstance(line.value, ast.Call)]
    return text if said else None


def judge_code(reply: Reply, text: str) -> Verdict:
    """Right where all tests of `checked_tests` pass. Raises SandboxFailed, BadInput (no isolation)."""
    source = find_code(reply.answer)
    if source is None:
        return Verdict(Outcome.UNPARSED, 0.0, detail="no code found")
    tests = CodeTests(**json.loads(text))
    if tests.before and "__future__" not in source:  # which has to come first
        source = f"{tests.before}\n{source}"
    faults = _call_faults(source, tests) if tests.entry_point else _text_faults(source, tests)
    passed = sum(not fault for fault in faults) / len(faults)
    if passed == 1:
        return Verdict(Outcome.RIGHT, 1.0, {"passed": 1.0})
    first, fault = next((i, fault) for i, fault in enumerate(faults, start=1) if fault)
    return Verdict(Outcome.WRONG, 0.0, {"passed": passed}, f"test {first} of {len(faults)}: {fault}")


@cache
def sandbox(total_s: float = TOTAL_S) -> Sandbox:
    """Made once a process and clock: the first one is tried. Raises BadInput."""
    return Sandbox(Limits(wall_s=total_s, cpu_s=math.ceil(total_s) + 1))


def _text_faults(source: str, tests: CodeTests) -> list[str]:
    """For each test what is wrong with it; empty where nothing is."""
    faults, left = [], tests.total_s
    for given, expected in zip(tests.inputs, tests.outputs, strict=True):
        if left <= 0:
            faults.append(f"not run: the tests before it took {tests.total_s:g} s")
            continue
        ran = sandbox(tests.total_s).run(source, given, wall_s=min(tests.test_s, left))
        left -= ran.seconds
        fault = _ending(ran)
        if not fault and not same_output(ran.stdout, expected, tests.tolerance):
            fault = f"printed {_short(ran.stdout)}, not {_short(expected)}"
        faults.append(fault)
    return faults


def _call_faults(source: str, tests: CodeTests) -> list[str]:
    arguments = [json.dumps(given) for given in tests.inputs]
    ran = sandbox(tests.total_s).call(source, tests.entry_point, arguments, tests.total_s)
    faults = []
    for i, expected in enumerate(tests.outputs):
        fault = (
            _no_result(ran) if i >= len(ran.results) else _result_fault(ran.results[i], i, expected, tests)
        )
        faults.append(fault)
    return faults


def _no_result(ran: Ran) -> str:
    return _ending(ran) or "its process ended before it was called"


def _result_fault(line: str, index: int, expected: Any, tests: CodeTests) -> str:
    """The code can write such lines itself: whatever it writes is what it answers."""
    try:
        number, kind, value = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return f"no result but {_short(line)}"
    if number != index or kind not in ("value", "raised"):
        return f"no result but {_short(line)}"
    if kind == "raised":
        return f"raised {_short(value)}"
    if same_value(value, expected, tests.tolerance):
        return ""
    return f"{tests.entry_point}({_short(tests.inputs[index])}) gave {_short(value)}, not {_short(expected)}"


def _ending(ran: Ran) -> str:
    """What is wrong with how it ended."""
    last = ran.stderr.strip().rpartition("\n")[2][-150:]
    match ran.status:
        case Status.OK:
            return ""
        case Status.TIMEOUT:
            return f"ran past its {ran.seconds:.1f} s"
        case Status.OUTPUT:
            return "printed more than it may"
        case Status.MEMORY:
            return "needed more memory than it may"
        case Status.KILLED:
            return f"was ended by signal {-ran.code}"
        case Status.FAILED:
            return f"ended with exit code {ran.code}: {last}"


def same_output(printed: str, expected: str, tolerance: float = 0.0) -> bool:
    """Line by line and word by word; how many spaces and what empty lines at the end is free."""
    ours, gold = ([line.split() for line in text.rstrip().splitlines()] for text in (printed, expected))
    if len(ours) != len(gold):
        return False
    return all(
        len(a) == len(b) and all(_same_word(x, y, tolerance) for x, y in zip(a, b, strict=True))
        for a, b in zip(ours, gold, strict=True)
    )


def _same_word(word: str, gold: str, tolerance: float) -> bool:
    if word == gold or not tolerance:
        return word == gold
    try:
        return _near(float(word), float(gold), tolerance)
    except ValueError:
        return False


def same_value(value: Any, gold: Any, tolerance: float = 0.0) -> bool:
    """Equal JSON values, where 2 is 2.0 but true is not 1; floats within the tolerance."""
    if isinstance(value, bool) or isinstance(gold, bool):
        return value is gold
    if isinstance(value, list) and isinstance(gold, list):
        return len(value) == len(gold) and all(
            same_value(a, b, tolerance) for a, b in zip(value, gold, strict=True)
        )
    if isinstance(value, dict) and isinstance(gold, dict):
        return value.keys() == gold.keys() and all(same_value(value[k], gold[k], tolerance) for k in gold)
    if tolerance and isinstance(value, int | float) and isinstance(gold, float):
        return _near(value, gold, tolerance)
    return value == gold


def _near(value: float, gold: float, tolerance: float) -> bool:
    try:
        return math.isclose(value, gold, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:
        return False


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."
