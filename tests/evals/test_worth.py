"""Amounts for each right answer against sums by hand; the interval where it is known."""

from dataclasses import dataclass

import pytest

from shoestring.evals.worth import by_tokens, worth


@dataclass
class Row:
    problem: str
    outcome: str
    tokens: int = 10
    prompt_tokens: int = 5


def rows(right: int, wrong: int, **sizes: int) -> list[Row]:
    return [Row(f"p{i}", "right" if i < right else "wrong", **sizes) for i in range(right + wrong)]


def test_all_replies_are_paid_for_and_only_right_ones_count() -> None:
    found = worth(rows(4, 12), [0.5] * 16, unit="USD", basis="stated")
    assert (found.replies, found.right) == (16, 4)
    assert found.tokens.value == 40
    assert found.prompt_tokens.value == 20
    assert found.money == 8
    assert found.money_per_right is not None
    assert found.money_per_right.value == 2
    assert "2 [" in found.line()
    assert "USD (stated)" in found.line()


def test_interval_is_that_of_one_over_the_share_where_replies_cost_alike() -> None:
    """All cost 1: money a right answer is n / right, so the interval is the turned one of the share."""
    found = worth(rows(160, 240), [1.0] * 400).money_per_right
    assert found is not None
    assert found.value == 2.5
    share, spread = 0.4, 1.96 * (0.4 * 0.6 / 400) ** 0.5
    assert found.low == pytest.approx(1 / (share + spread), rel=0.03)
    assert found.high == pytest.approx(1 / (share - spread), rel=0.03)


def test_all_right_and_alike_has_no_spread() -> None:
    found = worth(rows(8, 0)).tokens
    assert (found.value, found.low, found.high) == (10, 10, 10)


def test_samples_of_a_problem_are_drawn_together() -> None:
    """Four equal samples of each problem tell no more than one: the interval is as wide."""
    one = worth(rows(20, 20))
    four = worth([row for row in rows(20, 20) for _ in range(4)])
    assert four.tokens == one.tokens


def test_few_right_ones_have_no_upper_bound_and_none_has_no_value() -> None:
    few = worth(rows(1, 20), [1.0] * 21)
    assert few.tokens.value == 210
    assert few.tokens.high is None
    assert "no bound" in few.line()
    none = worth(rows(0, 3), [1.0] * 3)
    assert none.tokens.value is None
    assert none.line() == "a right answer: none in 3 replies, 3 in money spent"


def test_lost_money_is_on_top_and_no_prices_are_no_money() -> None:
    found = worth(rows(2, 2), [1.0, 2.0, 3.0, 4.0], lost=5.0)
    assert found.money == pytest.approx(15)
    assert found.money_per_right is not None
    assert found.money_per_right.value == pytest.approx(7.5)
    assert worth(rows(2, 2)).money is None
    with pytest.raises(ValueError, match="2 costs for 4 replies"):
        worth(rows(2, 2), [1.0, 2.0])


def test_a_bill_is_shared_out_by_tokens() -> None:
    assert by_tokens([Row("a", "right", 10, 10), Row("b", "wrong", 50, 10)], 8.0) == [2.0, 6.0]
