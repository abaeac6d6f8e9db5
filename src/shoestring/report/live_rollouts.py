"""What the model wrote, of a run that is still going on: verdicts by step, and a step's samples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.errors import BadInput
from shoestring.report.live import live_units
from shoestring.report.rollout_filter import Wanted, choose
from shoestring.report.rollout_folders import rollouts_of
from shoestring.report.rollouts import Kept, RolloutFolder


@dataclass(frozen=True)
class Verdicts:
    """counts[outcome][i] of steps[i]: how many of its samples."""

    unit: str
    steps: tuple[int, ...]
    counts: dict[str, list[int]]


def kept_units(folder: Path) -> list[RolloutFolder]:
    """Those units whose rollouts are judged, in order."""
    found = [rollouts_of(path, unit) for path, unit in live_units(folder)]
    return [rollouts for rollouts in found if rollouts.steps and rollouts.judged]


def read_verdicts(folder: Path) -> list[Verdicts]:
    return [_verdicts(rollouts) for rollouts in kept_units(folder)]


def _verdicts(rollouts: RolloutFolder) -> Verdicts:
    each = [_outcomes(*_mark(rollouts.file(step))) for step in rollouts.steps]
    names = sorted({name for counts in each for name in counts}, key=_order)
    return Verdicts(rollouts.title, rollouts.steps, {n: [dict(c).get(n, 0) for c in each] for n in names})


ORDER = ("right", "wrong", "unparsed", "timeout", "error")


def _order(outcome: str) -> tuple[int, str]:
    return (ORDER.index(outcome) if outcome in ORDER else len(ORDER), outcome)


def _mark(path: Path) -> tuple[Path, int, int]:
    """A step's file is written once, or again by a resume: its size and time tell them apart."""
    stat = path.stat()
    return path, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=4096)
def _outcomes(path: Path, changed_ns: int, size: int) -> Counter[str]:
    del changed_ns, size  # of the key only
    try:
        column = pq.read_table(path, columns=["outcome"])["outcome"]
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise BadInput(f"{path.name} can't be read: {error}") from None
    return Counter(column.to_pylist())


def read_samples(folder: Path, unit: str, step: int | None, verdict: str) -> tuple[int, Sequence[Kept]]:
    """The step (the last kept one for None) and its samples. Raises BadInput where it isn't there."""
    units = {rollouts.title: rollouts for rollouts in kept_units(folder)}
    if unit not in units:
        raise BadInput(f"no rollouts of '{unit}'; there are some of {', '.join(units) or 'no stage yet'}")
    rollouts = units[unit]
    wanted = rollouts.steps[-1] if step is None else step
    if wanted not in rollouts.steps:
        raise BadInput(f"step {wanted} of {unit} isn't kept; the last is {rollouts.steps[-1]}")
    return wanted, choose(rollouts.read(wanted), Wanted(verdict=verdict))
