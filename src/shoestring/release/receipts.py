"""An evaluation's figures against the replies that are kept with it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome


def check_unit(path: Path) -> list[str]:
    """What of a unit's JSON doesn't hold for its replies, in words; [] where all does."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = path.parent / values["rows"]
    try:
        outcomes = pq.read_table(rows, columns=["problem", "outcome", "finish_reason"]).to_pylist()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise BadInput(f"{rows} is no file of replies: {error}") from None
    scored = [row for row in outcomes if row["outcome"] != Outcome.OPEN.value]
    counted = {
        "n": len({row["problem"] for row in scored}),
        "correct": sum(row["outcome"] == Outcome.RIGHT.value for row in scored),
        "truncated": sum(row["finish_reason"] != "stop" for row in scored),
        "unparsed": sum(row["outcome"] == Outcome.UNPARSED.value for row in scored),
    }
    faults = [
        f"{name} is {values[name]}, and the replies say {count}"
        for name, count in counted.items()
        if values[name] != count
    ]
    score = counted["correct"] / len(scored) if scored else 0.0
    if abs(score - values["score"]) > 1e-9:
        faults.append(f"score is {values['score']:.4f}, and the replies say {score:.4f}")
    return faults
