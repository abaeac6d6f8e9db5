"""The calculator against Python's own fractions, its limits, and Python in the sandbox."""

import random
import time
from fractions import Fraction

import pytest

from shoestring.errors import BadInput
from shoestring.tasks import tools
from shoestring.tasks.calculator import NoValue, calculate, spelled
from shoestring.tasks.sandbox import WAYS, SandboxFailed, missing
from shoestring.tasks.tools import Calculator, Python, Toolbox, ToolError, open_tools, tool_names
from shoestring.text.tool_calls import ToolCall, ToolCard

isolates = pytest.mark.skipif(all(missing(way) for way in WAYS), reason="nothing isolates here")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12*7", "84"),
        ("17 + 5 - 42", "-20"),
        ("2**10 - 1", "1023"),
        ("2^10", "1024"),
        ("-2**2", "-4"),
        ("(-2)**3", "-8"),
        ("2**3**2", "512"),
        ("2**-2", "0.25"),
        ("7/2", "3.5"),
        ("-1/8", "-0.125"),
        ("1/3", "1/3 (about 0.333333)"),
        ("0.1+0.2", "0.3"),
        (".5*4", "2"),
        ("3 × 4 ÷ 6 − 1", "1"),
        ("0**0", "1"),
        ("0**5", "0"),
        ("(-1)**999999999", "-1"),
        ("1**999999999", "1"),
        ("--3", "3"),
    ],
)
def test_values(text, value):
    assert calculate(text) == value


def test_random_expressions_have_pythons_values():
    rng = random.Random(0)
    for _ in range(300):
        parts = [str(rng.randrange(1, 99)) for _ in range(rng.randint(2, 7))]
        text = parts[0]
        for part in parts[1:]:
            text = (
                f"({text}){rng.choice('+-*/')}{part}"
                if rng.random() < 0.5
                else text + rng.choice("+-*/") + part
            )
        wrapped = "".join(f"Fraction({t})" if t.isdigit() else t for t in _split(text))
        try:
            wanted = eval(wrapped, {"Fraction": Fraction})  # our own text
        except ZeroDivisionError:
            continue
        assert calculate(text) == spelled(Fraction(wanted))


def _split(text: str) -> list[str]:
    found, number = [], ""
    for sign in text + " ":
        if sign.isdigit():
            number += sign
            continue
        found += [number] if number else []
        found, number = [*found, sign], ""
    return found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "missing"),
        ("2+", "missing"),
        ("2 2", "left over"),
        ("(2", "not closed"),
        ("2)", "left over"),
        ("1/0", "division by zero"),
        ("0**-1", "division by zero"),
        ("9**9**9", "too large"),
        ("2**0.5", "whole number"),
        ("2**99999999999", "too large"),
        ("(2**1999)*(2**1999)", "too large"),
        ("1" * 301, "longer than"),
        ("(" * 100 + "1" + ")" * 100, "deep"),
        ("-" * 200 + "1", "deep"),
        ("2**" * 90 + "2", "deep"),
        ("__import__('os')", "no number or operator"),
        ("x+1", "no number or operator"),
        ("1,000", "no number or operator"),
        ("٣+1", "no number or operator"),
    ],
)
def test_what_has_no_value_says_why_at_once(text, why):
    began = time.perf_counter()
    with pytest.raises(NoValue, match=why):
        calculate(text)
    assert time.perf_counter() - began < 0.5


def box(*made, max_calls: int = 4) -> Toolbox:
    return Toolbox(tuple(made), max_calls)


class Talker:
    card = ToolCard("talk", "says much", "what", "x")
    slow = False

    def run(self, text: str) -> str:
        return "y" * 5_000


def test_faults_come_back_as_text():
    said = {
        call: box(Calculator()).run(call)
        for call in (
            ToolCall("calculator", "1/0", "expression"),
            ToolCall("search", "x", "query"),
            ToolCall("calculator", "1", "sum"),
            ToolCall("", "", fault="the call is not JSON"),
        )
    }
    assert [made.result for made in said.values()] == [
        "error: division by zero",
        "error: there is no tool 'search'; there is calculator",
        'error: calculator takes "expression", not "sum"',
        "error: the call is not JSON",
    ]
    assert all(made.failed for made in said.values())


def test_a_long_result_is_cut_and_says_so():
    made = box(Talker()).run(ToolCall("talk", "x", "what"))
    assert made.result == "y" * 1_000 + "... (cut: 5000 characters in all)"
    assert not made.failed


def test_calls_past_the_most_are_not_run():
    calls = [ToolCall("calculator", str(i), "expression") for i in range(3)]
    made = box(Calculator(), max_calls=2).run_all(calls, left=1)
    assert [m.result for m in made] == ["0", *["error: not run: a reply may call at most 2 times"] * 2]


def test_names():
    assert open_tools([], 4) is None
    assert tool_names(["calculator"]) == ["calculator"]
    with pytest.raises(BadInput, match="did you mean 'calculator'"):
        tool_names(["calculater"])


def test_python_is_refused_where_nothing_isolates(monkeypatch):
    monkeypatch.setattr("shoestring.tasks.sandbox.missing", lambda way: "not here")
    with pytest.raises(BadInput, match="can't isolate"):
        open_tools(["python"], 4)


@isolates
def test_python():
    python = Python()
    assert python.run("print(6 * 7)") == "42"
    assert python.run("x = 1") == "(nothing was printed)"
    with pytest.raises(ToolError, match=r"ZeroDivisionError.*before that it printed: a"):
        python.run("print('a')\n1/0")
    with pytest.raises(ToolError, match="printed too much"):
        python.run("while True: print('x' * 999)")
    with pytest.raises(ToolError, match="ran past 2 s"):
        python.run("while True: pass")


@isolates
def test_a_sandbox_that_does_not_come_up_is_an_error_of_the_call(monkeypatch):
    python = Python()

    def fails(*_):
        raise SandboxFailed("no")

    monkeypatch.setattr(tools.Sandbox, "run", fails)
    made = box(python).run(ToolCall("python", "1", "code"))
    assert made.failed
    assert "could not be started" in made.result
