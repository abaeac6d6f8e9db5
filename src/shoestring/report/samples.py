"""Which rollouts the report shows: a rule picks them, nobody does."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from shoestring.report.run_report import Sample, UnitReport

EACH = 10
RULE = (
    f"From the last step backwards, {EACH} right and {EACH} not right of each stage, or {EACH} continuations "
    "that nobody judges, within a step in the order of the hash of prompt and completion, equal ones once."
)


def pick(folder: Path, unit: UnitReport) -> list[Sample]:
    """By `RULE`, from the rollouts in the unit's folder."""
    kept: dict[bool, list[Sample]] = {True: [], False: []}
    seen: set[str] = set()
    for path in sorted((folder / "rollouts").glob("step-*.parquet"), reverse=True):
        if all(len(found) >= EACH for found in kept.values()):
            break
        step = int(path.stem.removeprefix("step-"))
        for row in sorted(pq.read_table(path).to_pylist(), key=_order):
            right, mark = row["outcome"] == "right", _order(row)
            if len(kept[right]) < EACH and mark not in seen:
                seen.add(mark)
                kept[right].append(
                    Sample(unit, step, row["prompt"], row["completion"], right, row["outcome"])
                )
    return [*kept[True], *kept[False]]


def _order(row: dict[str, str]) -> str:
    return hashlib.sha256(f"{row['prompt']}\n{row['completion']}".encode()).hexdigest()
