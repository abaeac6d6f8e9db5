"""What a run cost, stage by stage, what was thrown away, what a point of accuracy cost; or what all runs of a
folder cost together."""

from pathlib import Path
from typing import Any

from rich.console import Console

from shoestring.budget.price import Amount, Bill
from shoestring.budget.usage import read_usage
from shoestring.errors import BadInput
from shoestring.report.blocks import Block, Heading, Table, Text
from shoestring.report.costs import bill_blocks, quantity
from shoestring.report.ledger import Entry, entries, gains, tokens_by_fate
from shoestring.report.read import read_run
from shoestring.report.terminal import print_blocks
from shoestring.run.progress import duration


def show_cost(path: Path, console: Console) -> dict[str, Any]:
    """Raises BadInput where there is no run."""
    if not path.exists():
        raise BadInput(f"{path}: no such folder; --cost takes a run, or a folder of runs")
    if (path / "recipe.toml").is_file():
        return _of_run(path, console)
    return _of_folder(path, console)


def _of_run(path: Path, console: Console) -> dict[str, Any]:
    report = read_run(path)
    bill, fate = report.bill, tokens_by_fate(report.bill)
    gained = gains(report, read_usage(path))
    blocks: list[Block] = [Text(f"{report.name}: {report.state}, {path}"), *bill_blocks(report)]
    blocks += [Heading("Tokens"), Table(("", "tokens"), tuple((n, quantity(t)) for n, t in fate.items()))]
    if gained:
        rows = tuple(
            (
                g.model,
                g.suite,
                f"{g.points:+.1f}",
                duration(g.amount.seconds),
                f"{g.usd:.4f}",
                _price(g.usd_per_point),
            )
            for g in gained
        )
        header = ("model", "suite", "points", "time", "USD", "USD a point")
        blocks += [Heading("What a point cost"), Table(header, rows, words=(0, 1))]
        blocks += [Text("Points of accuracy over the base at its best; what made the model, one seed.")]
    print_blocks(blocks, console)
    return {
        "run": str(path),
        "state": report.state,
        "bill": _bill_json(bill),
        "tokens": fate,
        "gains": [
            {
                "model": g.model,
                "suite": g.suite,
                "points": g.points,
                "seconds": g.amount.seconds,
                "usd": g.usd,
                "usd_per_point": g.usd_per_point,
                "seconds_per_point": g.seconds_per_point,
            }
            for g in gained
        ],
    }


def _of_folder(path: Path, console: Console) -> dict[str, Any]:
    found = entries(path)
    total = sum((entry.bill.total for entry in found), Amount())
    lost = sum((entry.bill.total_wasted for entry in found), Amount())
    failed = [entry for entry in found if entry.state != "finished"]
    unfinished = sum((entry.bill.total for entry in failed), Amount())
    kwh = sum(entry.bill.kwh(entry.bill.total) for entry in found)
    usd = sum(entry.bill.usd(entry.bill.total) for entry in found)
    rows = [(str(e.path.relative_to(path)), e.name, e.state, *_cells(e)) for e in found]
    rows.append(("all", "", "", *_numbers(total, kwh, usd)))
    header = ("run", "recipe", "state", "time", "tokens", "FLOP", "kWh", "USD")
    share = unfinished.seconds / total.seconds if total.seconds else 0.0
    thrown = lost.seconds / total.seconds if total.seconds else 0.0
    blocks: list[Block] = [
        Table(header, tuple(rows), words=(0, 1, 2), strong=frozenset({len(rows) - 1})),
        Text(
            f"{len(failed)} of {len(found)} runs did not finish: "
            f"{duration(unfinished.seconds)}, {share:.0%} of "
            "the time. "
            f"Spent on nothing in all of them: {duration(lost.seconds)}, {thrown:.0%}."
        ),
    ]
    print_blocks(blocks, console)
    return {
        "folder": str(path),
        "runs": [
            {"run": str(e.path), "name": e.name, "state": e.state, "bill": _bill_json(e.bill)} for e in found
        ],
        "total": {**vars(total), "kwh": kwh, "usd": usd},
        "unfinished": {"runs": len(failed), **vars(unfinished)},
        "wasted": vars(lost),
    }


def _cells(entry: Entry) -> tuple[str, ...]:
    total = entry.bill.total
    return _numbers(total, entry.bill.kwh(total), entry.bill.usd(total))


def _numbers(amount: Amount, kwh: float, usd: float) -> tuple[str, ...]:
    return (
        duration(amount.seconds),
        quantity(amount.tokens),
        quantity(amount.flops),
        f"{kwh:.4f}",
        f"{usd:.4f}",
    )


def _price(usd: float | None) -> str:
    return "none was gained" if usd is None else f"{usd:.5f}"


def _bill_json(bill: Bill) -> dict[str, Any]:
    return {
        "figures": [
            {"name": f.name, "value": f.value, "unit": f.unit, "basis": f.basis} for f in bill.figures()
        ],
        "stages": {name: _amount_json(bill, bill.of_stage(name)) for name in bill.stages()},
        "kinds": [{"stage": s, "kind": k, **_amount_json(bill, a)} for (s, k), a in bill.used.items()],
        "wasted": {reason: _amount_json(bill, amount) for reason, amount in bill.wasted.items()},
        "utilisation": bill.utilisation,
    }


def _amount_json(bill: Bill, amount: Amount) -> dict[str, float]:
    return {**vars(amount), "kwh": bill.kwh(amount), "usd": bill.usd(amount)}
