"""What a run cost, for what it gained, and what all runs of a folder cost together, those that failed too."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.budget.price import Amount, Bill, Prices, make_bill
from shoestring.budget.usage import read_usage
from shoestring.errors import BadInput
from shoestring.report.run_report import RunReport
from shoestring.report.stage_costs import cost_of, new_stages
from shoestring.settings import build, read_toml

# kinds of work whose tokens a model wrote or read
MADE = ("generate", "preflight", "eval", "chat", "identity", "audit")
TRAINED = ("train",)


@dataclass(frozen=True)
class Gain:
    """A model over its base on one suite, and what it took to make: stages at whatever remove, one seed."""

    model: str
    suite: str
    points: float  # of accuracy, 0 to 100
    amount: Amount
    usd: float

    @property
    def usd_per_point(self) -> float | None:
        return self.usd / self.points if self.points > 0 else None

    @property
    def seconds_per_point(self) -> float | None:
        return self.amount.seconds / self.points if self.points > 0 else None


@dataclass(frozen=True)
class Entry:
    """One run of a folder."""

    path: Path
    name: str
    state: str
    bill: Bill


def tokens_by_fate(bill: Bill) -> dict[str, float]:
    """Made, trained on, judged or otherwise read, and thrown away by reason. What was thrown away is among
    what was made."""
    made = sum(amount.tokens for (_, kind), amount in bill.used.items() if kind in MADE)
    trained = sum(amount.tokens for (_, kind), amount in bill.used.items() if kind in TRAINED)
    thrown = {f"thrown away, {name}": amount.tokens for name, amount in bill.wasted.items() if amount.tokens}
    return {"made": made, "trained": trained, "other": bill.total.tokens - made - trained, **thrown}


def gains(report: RunReport, usage: list[dict[str, Any]]) -> tuple[Gain, ...]:
    """Of every trained model that the report compares with its base, arms left out."""
    recipe = read_toml(report.folder / "recipe.toml")
    found: list[Gain] = []
    for compared in report.against_base:
        first = compared.of[0]
        if first.unit.arm:
            continue
        (stages,) = new_stages(recipe["stage"], [first.label])
        if not stages:
            continue
        amount = cost_of(stages, usage, report.bill.prices).used
        usd = report.bill.usd(amount)
        found.append(Gain(first.label, first.suite, 100 * compared.difference, amount, usd))
    return tuple(found)


def entries(folder: Path) -> list[Entry]:
    """Every run under `folder`, by path. Raises BadInput where there is none."""
    found = [_entry(path.parent) for path in sorted(folder.rglob("usage.jsonl"))]
    if not found:
        raise BadInput(f"{folder}: no run in it (a run's folder has usage.jsonl)")
    return found


def _entry(path: Path) -> Entry:
    recipe = read_toml(path / "recipe.toml") if (path / "recipe.toml").exists() else {}
    status = path / "status.json"
    state = (
        json.loads(status.read_text(encoding="utf-8")).get("state", "?") if status.exists() else "not started"
    )
    prices = build(Prices, recipe.get("prices", {}), str(path))
    machine = path / "machine.json"
    peak = json.loads(machine.read_text(encoding="utf-8")).get("peak") if machine.exists() else None
    bill = make_bill(read_usage(path), prices, peak)
    return Entry(path, recipe.get("recipe", {}).get("name", path.name), state, bill)
