"""A plan as text: tables of ranges with a middle."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from shoestring.budget.plan import Phase, Plan, would_fit
from shoestring.budget.ranges import Range
from shoestring.run.progress import duration


def print_plan(plan: Plan, console: Console) -> None:
    say = lambda text: console.print(text, markup=False)  # noqa: E731
    say(f"{plan.name} on {plan.machine.name}")
    say(plan.machine.basis)
    console.print(_units(plan))
    whole = plan.seconds
    say(
        f"in all: {times(whole)}, {spoken(plan.tokens)} tokens, {spoken(plan.flops)} FLOP, "
        f"{figures(plan.kwh(whole), 3)} kWh at {plan.machine.watts:g} W, {figures(plan.usd(whole), 3)} USD, "
        f"{figures(plan.disk * (1 / 2**30), 1)} GiB of disk"
    )
    peak = plan.peak
    if peak is not None and peak.memory is not None:
        parts = sorted(peak.memory.parts.items(), key=lambda part: -part[1])[:4]
        told = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts)
        say(f"most memory: {peak.memory.total / 2**30:.2f} GiB in {peak.unit}, {peak.kind} ({told})")
    for phase in plan.too_large:
        say(f"DOES NOT FIT: {would_fit(phase, plan.machine)}")
    for line in plan.assumed:
        say(f"assumed: {line}")
    for line in plan.unknown:
        say(f"not reckoned: {line}")


def _units(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for title in ("least", "time", "most", "of it", "tokens", "memory, GiB", "USD"):
        table.add_column(title, justify="right")
    for unit in plan.units:
        phases = [phase for phase in plan.phases if phase.unit == unit]
        seconds = plan.of(unit)
        kind, took = most_time(phases)
        tokens = sum(phase.tokens.mid for phase in phases)
        held = max((phase.memory.total for phase in phases if phase.memory is not None), default=0)
        table.add_row(
            unit,
            duration(seconds.low),
            duration(seconds.mid),
            duration(seconds.high),
            f"{kind} {took / seconds.mid:.0%}" if seconds.mid else "",
            f"{tokens:,.0f}",
            f"{held / 2**30:.2f}",
            f"{plan.usd(seconds).mid:.4f}",
        )
    return table


def most_time(phases: Sequence[Phase]) -> tuple[str, float]:
    """The kind of work that takes longest, however many parts it comes in, and its seconds."""
    kinds: defaultdict[str, float] = defaultdict(float)
    for phase in phases:
        kinds[phase.kind] += phase.seconds.mid
    return max(kinds.items(), key=lambda one: one[1])


def print_compared(plans: Sequence[Plan], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("on")
    for title in ("least", "time", "most", "USD", "kWh", "fits"):
        table.add_column(title, justify="right")
    for plan in plans:
        seconds = plan.seconds
        table.add_row(
            plan.machine.name,
            duration(seconds.low),
            duration(seconds.mid),
            duration(seconds.high),
            figures(plan.usd(seconds), 3),
            figures(plan.kwh(seconds), 3),
            "no" if plan.too_large else "yes",
        )
    console.print(table)
    for plan in plans:
        console.print(f"{plan.machine.name}: {plan.machine.basis}", markup=False)


def print_headline(beside: Mapping[str, Any], console: Console) -> None:
    """What the press compared, and what V3's figure leaves out (`budget.headline`)."""
    say = lambda text: console.print(text, markup=False)  # noqa: E731
    say("reported in early 2025, millions of USD, and what each includes:")
    for figure in beside["figure"]:
        say(
            f"  {figure['name']} {_span(figure['musd'])}: {figure['includes']} "
            f"({figure['source']}; {figure['date']})"
        )
    say("what the headline leaves out, millions of USD:")
    for line in beside["left_out"]:
        say(f"  {line['name']} {_span(line['musd'])}: {line['how']} ({line['source']}; {line['date']})")


def _span(musd: Sequence[float]) -> str:
    return f"{musd[0]:g}" if musd[0] == musd[1] else f"{musd[0]:g} to {musd[1]:g}"


def times(seconds: Range) -> str:
    return f"{duration(seconds.mid)} ({duration(seconds.low)} to {duration(seconds.high)})"


def figures(amount: Range, digits: int) -> str:
    """The middle, and both ends where they differ."""
    if amount.low == amount.high:
        return f"{amount.mid:,.{digits}f}"
    return f"{amount.mid:,.{digits}f} ({amount.low:,.{digits}f} to {amount.high:,.{digits}f})"


def spoken(amount: Range) -> str:
    low, mid, high = (f"{value:.2g}" if value >= 1e6 else f"{value:,.0f}" for value in vars(amount).values())
    return mid if low == high else f"{mid} ({low} to {high})"
