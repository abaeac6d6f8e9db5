"""Which answers are one vote."""

import subprocess
import sys

import pytest

from shoestring.tasks.maths import judge_maths
from shoestring.text.message import Reply


def vote(said: str, gold: str = "x") -> str:
    return judge_maths(Reply(None, f"\\boxed{{{said}}}"), gold).said


@pytest.mark.parametrize(
    ("gold", "alike"),
    [
        ("\\frac{1}{2}", ("0.5", "\\frac12", "\\frac{1}{2}", "2/4")),
        ("7", ("0.25", "\\tfrac{1}{4}")),  # wrong ones are counted together too
        ("x+1", ("x+1", "1+x", "1 + x")),
        ("(x+y)^2", ("x^2+2xy+y^2", "(y+x)^2")),
        ("\\{1,2\\}", ("\\{1,2\\}", "\\{2, 1\\}")),
        ("\\sqrt{12}", ("2\\sqrt{3}", "\\sqrt{12}")),
    ],
)
def test_one_value_is_one_vote(gold, alike):
    assert len({vote(text, gold) for text in alike}) == 1


def test_other_values_are_other_votes():
    votes = [vote(text, "3") for text in ("3", "4", "(3,4)", "(4,3)", "\\{3,4\\}", "[3,4]", "x", "3x")]
    assert len(set(votes)) == len(votes)
    assert "" not in votes


def test_what_python_does_not_write_out_still_has_a_vote():
    assert vote("2^{20000}", "10") == "2^{20000}"


def test_every_process_gives_the_same():
    """Workers hash texts differently."""
    code = (
        "from shoestring.tasks.maths import judge_maths\n"
        "from shoestring.text.message import Reply\n"
        "print(judge_maths(Reply(None, r'\\boxed{ab+bc+ca+1}'), 'ab+bc+ca+1').said)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
