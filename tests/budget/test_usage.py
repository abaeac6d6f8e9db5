"""A machine's second is billed once, however many processes of a run were at work in it."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.budget.limit import Allowance, parse_limit
from shoestring.budget.price import Prices, make_bill
from shoestring.budget.usage import Crowd, billed_once, read_usage
from shoestring.run import Stage, read_lines


def line(sitting: str, began: float, ended: float, seconds: float | None = None, **more) -> dict:
    took = ended - began if seconds is None else seconds
    fields = {
        "stage": sitting,
        "unit": sitting,
        "kind": "train",
        "seconds": took,
        "tokens": 10,
        "flops": 1e12,
    }
    fields |= {"machine": "here", "sitting": sitting, "began": began, "time": ended, "wasted": {}}
    return fields | more


def test_two_processes_at_once_are_one_machine(tmp_path):
    """The first works an hour alone and an hour beside the second; each reads all of the machine's joules."""
    lines = [
        line("a", 0, 3600, joules=3600 * 60.0),
        line("a", 3600, 7200, joules=3600 * 100.0),
        line("b", 3600, 7200, joules=3600 * 100.0),
    ]
    (tmp_path / "usage.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    prices = Prices(watts=80, usd_per_kwh=0.5, usd_per_hour=2.0)
    bill = make_bill(read_usage(tmp_path), prices, peak=1e9)
    assert bill.total.seconds == pytest.approx(7200)
    assert bill.of_stage("a").seconds == pytest.approx(5400)
    assert bill.of_stage("b").seconds == pytest.approx(1800)
    assert bill.kwh(bill.total) == pytest.approx(0.060 + 0.100)
    assert bill.usd(bill.total) == pytest.approx(0.160 * 0.5 + 2 * 2.0)
    assert bill.utilisation == pytest.approx(3e12 / 7200 / 1e9)  # what both did, over the machine's seconds
    figure = bill.figures()[0]
    assert (figure.value, figure.basis) == (
        pytest.approx(7200),
        "measured, once where several processes were at work (3,600 s of theirs)",
    )
    assert not Allowance(parse_limit("2.5h"), tmp_path / "usage.jsonl", prices).over()
    assert Allowance(parse_limit("2h"), tmp_path / "usage.jsonl", prices).over()


def test_stages_that_are_open_at_once(tmp_path):
    began = time.monotonic()
    with Stage(tmp_path / "stages/01-a", "a", run_dir=tmp_path) as first:
        first.use("train", seconds=0.05)
        with Stage(tmp_path / "stages/02-b", "b", run_dir=tmp_path):
            time.sleep(0.1)
    took = time.monotonic() - began
    each = sum(row["seconds"] for row in read_lines(tmp_path / "usage.jsonl"))
    assert each > 0.19
    assert make_bill(read_usage(tmp_path), Prices()).total.seconds == pytest.approx(took, abs=0.02)


def test_what_lies_between_pieces_of_work_is_shared_too():
    """A sitting's last line, `other`, has what no piece of work had, wherever that lay."""
    lines = [
        line("a", 0, 30, seconds=20),
        line("a", 30, 40, seconds=20, kind="other"),
        line("b", 20, 40, seconds=20),
    ]
    found = billed_once(lines)
    assert [row["seconds"] for row in found] == pytest.approx([15, 15, 10])
    assert sum(row["seconds"] for row in found) == pytest.approx(40)


def test_other_machines_and_lines_of_earlier_runs_count_as_they_are():
    old = {"stage": "c", "unit": "c", "kind": "train", "seconds": 9.0, "tokens": 1, "flops": 1.0, "time": 5.0}
    lines = [line("a", 0, 10), line("b", 0, 10, machine="there"), old]
    assert [row["seconds"] for row in billed_once(lines)] == [10, 10, 9]
    assert make_bill(billed_once(lines[:2]), Prices()).figures()[0].basis == "measured"


def test_a_line_that_took_no_time_is_not_divided_by_it():
    (found,) = billed_once([line("a", 5, 5, seconds=0.0)])
    assert found["seconds"] == 0.0
    assert Crowd([(5, 5)]).share(5, 5) == 1.0


times = st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)).map(lambda pair: (min(pair), max(pair)))


@given(st.lists(times, min_size=1, max_size=6))
def test_the_lines_add_up_to_the_time_in_which_anybody_was_at_work(windows):
    lines = [line(str(number), *window) for number, window in enumerate(windows)]
    covered, until = 0.0, 0.0
    for begin, end in sorted(windows):
        covered, until = covered + max(0.0, end - max(begin, until)), max(until, end)
    assert sum(row["seconds"] for row in billed_once(lines)) == pytest.approx(covered, rel=1e-6, abs=1e-6)
