"""Which rollouts the report shows: a rule picks them, nobody does."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from shoestring.report.run_report import Sample
from shoestring.report.scores import UnitReport

EACH = 10
RIGHT, NOT_RIGHT, OPEN = KINDS = ("right", "not right", "open")
RULE = (
    f"From the last step backwards, {EACH} right and {EACH} not right of each stage, or {EACH} continuations "
    "that nobody judges, within a step in the order of the hash of prompt and completion, equal ones once."
)


def pick(folder: Path, unit: UnitReport) -> list[Sample]:
    """By `RULE`, from the rollouts in the unit's folder."""
    kept: dict[str, list[Sample]] = {kind: [] for kind in KINDS}
    seen: set[str] = set()
    for path in sorted((folder / "rollouts").glob("step-*.parquet"), reverse=True):
        if all(len(found) >= EACH for kind, found in kept.items() if found or kind != OPEN):
            break
        step = int(path.stem.removeprefix("step-"))
        for row in sorted(pq.read_table(path).to_pylist(), key=_order):
            kind, mark = kind_of(row["outcome"]), _order(row)
            if len(kept[kind]) < EACH and mark not in seen:
                seen.add(mark)
                kept[kind].append(
                    Sample(unit, step, row["prompt"], row["completion"], kind == RIGHT, row["outcome"])
                )
    return [sample for found in kept.values() for sample in found]


def kind_of(outcome: str) -> str:
    """An open prompt has no right answer, so its reply is not a wrong one."""
    return outcome if outcome in (RIGHT, OPEN) else NOT_RIGHT


def _order(row: dict[str, str]) -> str:
    return hashlib.sha256(f"{row['prompt']}\n{row['completion']}".encode()).hexdigest()
