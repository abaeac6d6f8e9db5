"""An evaluation's figures against its receipt and the replies that are kept with it."""

from pathlib import Path

from shoestring.evals.kept import faults, read_kept
from shoestring.tasks.base import Outcome


def check_unit(path: Path) -> list[str]:
    """What of a unit's JSON doesn't hold, in words; [] where all does. Raises BadInput where the receipt or
    the replies can't be read."""
    told = []
    for kept in read_kept(path):
        scored = [item for item in kept.items if item.outcome != Outcome.OPEN.value]
        counted = {
            "truncated": sum(item.finish_reason != "stop" for item in scored),
            "unparsed": sum(item.outcome == Outcome.UNPARSED.value for item in scored),
        }
        told += faults(kept)
        told += [
            f"{name} is {kept.values.get(name)}, and the replies say {count}"
            for name, count in counted.items()
            if kept.values.get(name) != count
        ]
    return told
