"""Budgets: what may be written, and what counts against them."""

import json
from pathlib import Path

import pytest

from shoestring.budget.limit import Allowance, parse_limit
from shoestring.budget.price import Prices
from shoestring.errors import BadInput

LINE = {
    "stage": "a",
    "unit": "stages/01-a",
    "kind": "train",
    "seconds": 3600.0,
    "tokens": 1,
    "flops": 0.0,
    "wasted": {},
}


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("2h", 7200, "s"),
        ("90min", 5400, "s"),
        ("30 s", 30, "s"),
        ("5usd", 5, "usd"),
        ("1kWh", 1, "kwh"),
        ("250Wh", 0.25, "kwh"),
    ],
)
def test_what_may_be_written(text, amount, unit):
    limit = parse_limit(text)
    assert (limit.amount, limit.unit) == (pytest.approx(amount), unit)


@pytest.mark.parametrize("text", ["", "2", "h", "2 parsecs", "-1h", "0h", "1e3h"])
def test_what_may_not(text):
    with pytest.raises(BadInput, match="--budget"):
        parse_limit(text)


def allowance(tmp_path: Path, text: str, lines: int, **more: float) -> Allowance:
    usage = tmp_path / "usage.jsonl"
    usage.write_text("".join(json.dumps(LINE | more) + "\n" for _ in range(lines)))
    return Allowance(parse_limit(text), usage, Prices(watts=100, usd_per_kwh=0.5))


def test_all_lines_of_the_run_count(tmp_path):
    assert not allowance(tmp_path, "3h", 2).over()
    used_up = allowance(tmp_path, "3h", 3)
    assert used_up.over()
    assert "the budget of 3h is used up (3h00m spent)" in used_up.in_words()
    assert not allowance(tmp_path, "1h", 0).over()


def test_what_an_endpoint_was_paid_counts_once(tmp_path):
    # two hours at 100 W and 0.5 USD/kWh are 0.1 USD, and 1 USD a line was paid
    assert allowance(tmp_path, "2.09usd", 2, paid=1.0).over()
    assert not allowance(tmp_path, "2.11usd", 2, paid=1.0).over()
    assert not allowance(tmp_path, "0.21kWh", 2, paid=1.0).over()


def test_energy_and_money_at_the_recipes_prices(tmp_path):
    assert allowance(tmp_path, "0.19kWh", 2).over()
    assert not allowance(tmp_path, "0.21kWh", 2).over()
    assert allowance(tmp_path, "0.09usd", 2).over()
    assert not allowance(tmp_path, "0.11usd", 2).over()
    measured = allowance(tmp_path, "0.03kWh", 2, joules=36_000.0)  # 10 Wh a line by the counters
    assert not measured.over()
