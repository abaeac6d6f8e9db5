"""What each model of the table of stages took, from the recipe's references and usage.jsonl."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shoestring.budget.price import Amount, Prices, make_bill
from shoestring.report.run_report import StageCost, Stages

REFERENCE = re.compile(r'"stage:([^"]+)"')


def read_stages(
    recipe: Mapping[str, Any], usage: Sequence[Mapping[str, Any]], prices: Prices
) -> Stages | None:
    """None where the recipe has no [stage_table]."""
    table = recipe.get("stage_table")
    if table is None:
        return None
    named = tuple(table["models"])
    return Stages(
        models=named,
        suites=tuple(table.get("suites", ())),
        harder=tuple(table.get("harder", ())),
        costs=tuple(cost_of(stages, usage, prices) for stages in new_stages(recipe["stage"], named)),
    )


def new_stages(stages: Sequence[Mapping[str, Any]], models: Iterable[str]) -> list[tuple[str, ...]]:
    """For each model the stages that it is made by, at whatever remove, but not those that a model before it
    was made by too."""
    built_on = {stage["name"]: REFERENCE.findall(json.dumps(stage)) for stage in stages}
    evals = [stage for stage in stages if stage["job"] == "eval"]
    made = {label: name for stage in evals for label, name in stage.get("models", {}).items()}
    counted: set[str] = set()
    found = []
    for model in models:
        wanted = [made.get(model.partition("/")[0], "").removeprefix("stage:")]
        own: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name in built_on and name not in own | counted:
                own.add(name)
                wanted += built_on[name]
        counted |= own
        found.append(tuple(name for name in built_on if name in own))
    return found


def cost_of(stages: tuple[str, ...], usage: Sequence[Mapping[str, Any]], prices: Prices) -> StageCost:
    """For one seed: each stage's own lines over the seeds that it was run with. Arms are left out."""
    used = wasted = Amount()
    for stage in stages:
        lines = [line for line in usage if line["stage"] == stage and not _arm(line["unit"])]
        seeds = len({line["unit"] for line in lines}) or 1
        bill = make_bill(lines, prices)
        used, wasted = used + bill.total.part(1 / seeds), wasted + bill.total_wasted.part(1 / seeds)
    return StageCost(stages, used, wasted)


def _arm(unit: str) -> bool:
    """Of stages/NN-name[/arm][/seed-S]."""
    return any(not part.startswith("seed-") for part in unit.split("/")[2:])
