"""Budgets and limits a minute, by hand."""

from shoestring.remote.endpoint import Endpoint
from shoestring.remote.spending import Budget, Pace


def endpoint(**changed) -> Endpoint:
    return Endpoint(url="https://h/v1", model="m", **changed)


def test_a_budget_counts_what_is_under_way():
    budget = Budget(endpoint(price_in=1.0, price_out=4.0, budget_money=0.001))
    assert budget.cost(100, 25) == 200e-6
    assert budget.fits(200, 200)
    budget.set_aside(1, 100, 100)  # 500e-6
    assert not budget.fits(200, 100)
    assert budget.fits(100, 100)
    assert budget.settle(1, 100, 25) == 200e-6
    assert budget.fits(200, 100)
    budget.spend(0.0008, 0)
    assert not budget.fits(1, 0)
    assert str(budget) == "0.001 of 0.001 in money"


def test_no_budget_has_no_end():
    budget = Budget(endpoint())
    budget.spend(1e9, 10**12)
    assert budget.fits(10**9, 10**9)


def test_requests_a_minute():
    pace = Pace(2, 0)
    for request, moment in enumerate((100.0, 110.0)):
        assert pace.wait_s(moment, 5) == 0
        pace.sent(moment, request, 5)
    assert pace.wait_s(130.0, 5) == 30.0
    assert pace.wait_s(160.0, 5) == 0
    pace.sent(160.0, 2, 5)
    assert pace.wait_s(165.0, 5) == 5.0


def test_tokens_a_minute_and_their_correction():
    pace = Pace(0, 100)
    assert pace.wait_s(0.0, 500) == 0  # alone it may be over
    pace.sent(0.0, 1, 80)
    assert pace.wait_s(1.0, 30) == 59.0
    pace.correct(1, 60)
    assert pace.wait_s(1.0, 30) == 0
    pace.sent(1.0, 2, 30)
    assert pace.wait_s(2.0, 20) == 58.0
    pace.correct(99, 10)  # long gone
    assert pace.wait_s(60.5, 70) == 0


def test_cached_input_has_its_own_price_or_the_usual_one():
    usual = Budget(Endpoint(url="https://h", model="m", price_in=2, price_out=3))
    assert usual.cost(10, 1, cached=4) == usual.cost(10, 1)
    cached = Budget(Endpoint(url="https://h", model="m", price_in=2, price_cached=0, price_out=3))
    assert cached.cost(10, 1, cached=4) == (6 * 2 + 3) / 1e6
