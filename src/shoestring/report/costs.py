"""The bill as tables."""

from collections.abc import Callable, Collection, Iterator

from shoestring.budget.price import REDONE, Amount
from shoestring.budget.ranges import Range, total
from shoestring.report.blocks import Block, Heading, Table, Text, percent
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
    if report.plan:
        yield from _planned(report)
    kinds = tuple((f"{stage}: {kind}", *_amount(report, used)) for (stage, kind), used in bill.used.items())
    yield Table(("kind of work", *header[1:]), kinds)
    lost, whole = bill.total_wasted, bill.total
    share = lost.seconds / whole.seconds if whole.seconds else 0.0
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


def _planned(report: RunReport) -> Iterator[Block]:
    """What was said before the run beside what it took. A stage that hasn't run is not judged."""
    took = {name: report.bill.of_stage(name).seconds for name in report.bill.stages()}
    said = {name: range_ for name, range_ in report.plan.items() if name in took}
    rows = [(name, *_beside(range_, took[name])) for name, range_ in said.items()]
    whole = total(said.values())
    rows.append(("all of these", *_beside(whole, sum(took[name] for name in said))))
    header = ("stage", "planned", "least to most", "took", "off", "inside")
    yield Table(header, tuple(rows), words=(0, 5), strong=frozenset({len(rows) - 1}))
    amounts = tuple(_amounts_beside(report, frozenset(said)))
    if amounts:
        yield Table(("of all these", *header[1:]), amounts, words=(0, 5))


def _amounts_beside(report: RunReport, stages: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Money is the machine's: what endpoints are paid is in no plan."""
    bill = report.bill
    used = sum((bill.of_stage(name) for name in stages), Amount())
    took = {"tokens": used.tokens, "flops": used.flops}
    took |= {"kwh": bill.kwh(used), "usd": bill.machine_usd(used)}
    names = {"tokens": "tokens", "flops": "FLOP", "kwh": "kWh", "usd": "USD of the machine"}
    for name, each in report.planned_amounts.items():
        said = total(range_ for stage, range_ in each.items() if stage in stages)
        yield names[name], *_beside(said, took[name], quantity)


def _beside(said: Range, took: float, shown: Callable[[float], str] = duration) -> tuple[str, ...]:
    span = f"{shown(said.low)} to {shown(said.high)}"
    off = f"{said.mid / took - 1:+.0%}" if took else ""
    return shown(said.mid), span, shown(took), off, "yes" if said.holds(took) else "no"


def quantity(value: float) -> str:
    """Three figures or so: 0.0123, 12.3, 12,300, 1.23e+15."""
    if value == 0:
        return "0"
    if abs(value) >= 1e9 or abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
