"""plan.json: what was said before a run that it would take, amount by amount and stage by stage."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoestring.budget.ranges import Range

PlannedAmounts = Mapping[str, Mapping[str, Range]]  # amount (tokens, flops, kwh, usd) -> stage -> how much


def read_amounts(folder: Path) -> PlannedAmounts:
    """Beside the seconds. Nothing where no plan was kept, or one from before it said them."""
    path = folder / "plan.json"
    plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found: dict[str, dict[str, Range]] = {}
    for name in ("tokens", "flops"):
        stages: defaultdict[str, Range] = defaultdict(lambda: Range.exact(0.0))
        for phase in plan.get("phases", []):
            stages[phase["stage"]] += Range(**phase[name])
        found[name] = dict(stages)
    for name in ("kwh", "usd"):
        if name in plan and plan["seconds"]["mid"]:
            found[name] = _by_seconds(plan, name)
    return {name: stages for name, stages in found.items() if stages}


def _by_seconds(plan: Mapping[str, Any], name: str) -> dict[str, Range]:
    """Energy and money of this machine go with its seconds."""
    each = plan[name]["mid"] / plan["seconds"]["mid"]
    return {stage: Range(**seconds) * each for stage, seconds in plan["stages"].items()}
