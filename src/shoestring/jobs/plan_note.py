"""A run's own plan, kept for the report to set beside what it took. No run ever fails for it."""

import json
from collections.abc import Sequence

from shoestring.budget.machine import of_probe
from shoestring.budget.plan import Plan, would_fit
from shoestring.budget.probe import Probe, kept_probe
from shoestring.jobs.recipe_file import Recipe
from shoestring.jobs.recipe_units import Unit
from shoestring.run import RunFolder, write_atomic
from shoestring.run.progress import duration


def note_plan(folder: RunFolder, recipe: Recipe, units: Sequence[Unit]) -> list[str]:
    """Where this machine was measured before: what it does at most, and what the run should take on it. The
    lines to say of it."""
    try:
        found = kept_probe()
        return [] if found is None else _note(folder, recipe, units, found)
    except Exception as error:  # a fault of the plan's, whatever it is, is none of the recipe's
        return [f"not planned: {(str(error) or type(error).__name__).splitlines()[0]}"]


def _note(folder: RunFolder, recipe: Recipe, units: Sequence[Unit], found: Probe) -> list[str]:
    from shoestring.jobs.plan_recipe import Planner  # every job's settings: for this alone

    machine = {"peak": found.peak, "precision": found.precision, "date": found.date}
    write_atomic(folder.path / "machine.json", json.dumps(machine) + "\n")
    if (folder.path / "plan.json").exists():  # of the first start
        return []
    plan = Planner(recipe, of_probe(found, watts=recipe.prices.watts)).plan(recipe.head.name, units)
    write_atomic(folder.path / "plan.json", json.dumps(plan.to_json(), indent=2) + "\n")
    return _lines(plan)


def _lines(plan: Plan) -> list[str]:
    whole, large = plan.seconds, plan.too_large
    low, mid, high = (duration(seconds) for seconds in (whole.low, whole.mid, whole.high))
    lines = [f"planned: {mid}, between {low} and {high}"]
    if large:
        worst = max(large, key=lambda phase: phase.memory.total if phase.memory else 0)
        rest = f" (and {len(large) - 1} more: shoestring plan)" if len(large) > 1 else ""
        lines.append(f"planned: DOES NOT FIT: {would_fit(worst, plan.machine)}{rest}")
    return lines + [f"not planned: {line}" for line in plan.unknown]
