"""The bill, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.budget.price import Amount, Prices, make_bill
from shoestring.errors import BadInput
from shoestring.settings import build


def line(stage="zero", kind="rollout", seconds=0.0, tokens=0, flops=0.0, wasted=None, **more):
    fields = {"stage": stage, "kind": kind, "seconds": seconds, "tokens": tokens, "flops": flops}
    return fields | {"wasted": wasted or {}} | more


def test_energy_and_money_by_hand():
    bill = make_bill(
        [line(seconds=3600.0, tokens=1000, flops=7.2e12)],
        Prices(watts=50, usd_per_kwh=0.2, usd_per_hour=1.5),
    )
    figures = {figure.name: figure for figure in bill.figures()}
    assert figures["energy"].value == pytest.approx(0.05)
    assert figures["money"].value == pytest.approx(0.05 * 0.2 + 1.5)
    assert figures["mean rate"].value == pytest.approx(2.0)
    assert figures["the same hours rented"].value == pytest.approx(0.10)
    assert figures["time"].basis == "measured"
    assert figures["operations"].basis == "counted"
    assert figures["energy"].basis == "measured seconds at 50 W (stated)"
    assert figures["the same hours rented"].basis == "measured seconds at 0.1 USD/h (assumed)"


def test_what_was_spent_on_nothing():
    bill = make_bill(
        [
            line(seconds=10.0, tokens=100, flops=1000.0, wasted={"dead_groups": 20, "cut": 10}),
            line(kind="train", seconds=5.0, tokens=50, flops=500.0),
            line(seconds=8.0, tokens=80, flops=800.0, wasted={"cut": 40}, redone=True),
        ],
        Prices(),
    )
    assert bill.wasted == {
        "dead_groups": Amount(2.0, 20, 200.0),
        "cut": Amount(1.0, 10, 100.0),
        "redone": Amount(8.0, 80, 800.0),
    }
    assert bill.total == Amount(23.0, 230, 2300.0)
    assert bill.of_stage("zero") == bill.total
    assert bill.used["zero", "rollout"] == Amount(18.0, 180, 1800.0)


def test_stages_keep_their_order():
    bill = make_bill([line("eval"), line("zero"), line("eval", "other")], Prices())
    assert bill.stages() == ["eval", "zero"]


def test_nothing_used_is_a_bill_of_zeros():
    bill = make_bill([], Prices())
    assert [figure.value for figure in bill.figures()] == [0.0] * 7


lines = st.builds(
    line,
    stage=st.sampled_from(["a", "b"]),
    seconds=st.floats(0, 1e5),
    tokens=st.integers(0, 1000),
    flops=st.floats(0, 1e15),
    wasted=st.dictionaries(st.sampled_from(["cut", "dead_groups", "x"]), st.integers(0, 1500)),
    redone=st.booleans(),
)


@given(st.lists(lines, max_size=8))
def test_no_more_is_wasted_than_was_used(usage):
    bill = make_bill(usage, Prices())
    used, wasted = bill.total, bill.total_wasted
    assert wasted.seconds <= used.seconds * (1 + 1e-9)
    assert wasted.flops <= used.flops * (1 + 1e-9)
    assert wasted.tokens <= used.tokens * (1 + 1e-9)


def test_measured_energy_goes_before_the_stated_watts():
    usage = [
        {**LINE_OF_ENERGY, "joules": 7200.0, "core_seconds": 150.0},
        LINE_OF_ENERGY,  # of a machine without counters, or of an older run
    ]
    bill = make_bill(usage, Prices(watts=36), peak=4e9)
    assert bill.kwh(bill.total) == pytest.approx((7200 + 100 * 36) / 3.6e6)
    assert "in 50% of the seconds" in bill.energy_basis()
    assert bill.total.core_seconds == 150
    assert bill.utilisation == pytest.approx(0.25)  # 1 GFLOP/s of 4
    names = [figure.name for figure in bill.figures()]
    assert "processors" in names
    assert "of the measured peak" in names
    alone = make_bill(usage[:1], Prices(watts=36))
    assert alone.energy_basis() == "measured by the machine's own counters"
    assert alone.utilisation is None


def test_what_was_paid_to_endpoints_is_money_and_not_energy():
    usage = [{**LINE_OF_ENERGY, "paid": 0.25, "wasted": {"lost": 5}}, LINE_OF_ENERGY]
    bill = make_bill(usage, Prices(watts=36, usd_per_kwh=1))
    assert bill.usd(bill.total) == pytest.approx(0.25 + 200 * 36 / 3.6e6)
    assert bill.usd(bill.total_wasted) == pytest.approx(0.125 + 50 * 36 / 3.6e6)
    shown = {figure.name: figure for figure in bill.figures()}
    assert shown["of it paid to endpoints"].value == 0.25
    assert "and what was paid" in shown["money"].basis
    assert "of it paid to endpoints" not in {
        figure.name for figure in make_bill(usage[1:], Prices()).figures()
    }


def test_energy_of_a_part_of_the_machine_says_so_and_the_rest_is_assumed():
    usage = [{**LINE_OF_ENERGY, "joules": 7200.0, "joules_of": "GPUs"}, LINE_OF_ENERGY]
    bill = make_bill(usage, Prices(watts=36))
    assert bill.kwh(bill.total) == pytest.approx((7200 + 200 * 36) / 3.6e6)
    assert bill.energy_basis() == (
        "measured by its GPUs' own counters in 50% of the seconds, all else measured seconds at 36 W (stated)"
    )
    whole = make_bill([{**LINE_OF_ENERGY, "joules": 7200.0, "joules_of": "all"}], Prices())
    assert whole.energy_basis() == "measured by the machine's own counters"


@pytest.mark.parametrize("name", Prices.model_fields)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_endless_price_is_refused_in_one_line(name, value):
    with pytest.raises(BadInput, match="finite") as caught:
        build(Prices, {name: value}, "[prices]")
    assert "\n" not in str(caught.value)


LINE_OF_ENERGY = {"stage": "a", "kind": "train", "seconds": 100.0, "tokens": 10, "flops": 1e11, "wasted": {}}


def test_lines_that_dont_say_of_what_their_joules_are_have_the_machines():
    """Runs from before it was said; one that took no time too."""
    line = {"stage": "s", "kind": "train", "tokens": 0, "flops": 0.0, "wasted": {}, "joules": 5.0}
    bill = make_bill([line | {"seconds": 0.0}, line | {"seconds": 2.0}], Prices())
    assert not bill.partly
    assert bill.total.measured_s == 2.0
