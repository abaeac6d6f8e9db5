"""The bill as tables."""

from collections.abc import Iterator

from shoestring.budget.price import REDONE, Amount
from shoestring.report.blocks import Block, Heading, Table, Text
from shoestring.report.results import percent
from shoestring.report.run_report import RunReport
from shoestring.run.progress import duration


def bill_blocks(report: RunReport) -> Iterator[Block]:
    bill = report.bill
    yield Heading("The bill")
    rows = tuple((f.name, f"{quantity(f.value)} {f.unit}", f.basis) for f in bill.figures())
    yield Table(("", "amount", "how it is known"), rows, words=(0, 2))
    header = ("stage", "time", "tokens", "FLOP", "kWh", "USD")
    stages = [(name, *_amount(report, bill.of_stage(name))) for name in bill.stages()]
    yield Table(header, (*stages, ("all", *_amount(report, bill.total))), strong=frozenset({len(stages)}))
    kinds = tuple((f"{stage}: {kind}", *_amount(report, used)) for (stage, kind), used in bill.used.items())
    yield Table(("kind of work", *header[1:]), kinds)
    lost, total = bill.total_wasted, bill.total
    share = lost.seconds / total.seconds if total.seconds else 0.0
    yield Text(f"Spent on nothing: {duration(lost.seconds)}, {percent(share)} of the time.")
    if bill.wasted:
        wasted = tuple((WASTE.get(name, name), *_amount(report, used)) for name, used in bill.wasted.items())
        yield Table(("spent on", *header[1:]), wasted)
    yield Text(
        "Time that belongs to no kind of work (loading, saving, waiting) is under other. Tokens that were "
        "spent on nothing are charged their share of the time and operations of the work they were part of."
    )


WASTE = {
    "dead_groups": "groups all right or all wrong, which teach nothing",
    "cut": "replies that met the token limit",
    REDONE: "work lost to an interruption and done again",
}


def _amount(report: RunReport, amount: Amount) -> tuple[str, ...]:
    return (
        duration(amount.seconds),
        quantity(amount.tokens),
        quantity(amount.flops),
        f"{report.bill.kwh(amount):.4f}",
        f"{report.bill.usd(amount):.4f}",
    )


def quantity(value: float) -> str:
    """Three figures or so: 0.0123, 12.3, 12,300, 1.23e+15."""
    if value == 0:
        return "0"
    if abs(value) >= 1e9 or abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
