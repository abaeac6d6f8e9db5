"""An evaluation's figures against its receipt and the replies that are kept with it."""

from pathlib import Path

from shoestring.errors import BadInput
from shoestring.evals.kept import faults, read_kept
from shoestring.tasks.base import Outcome


def check_unit(path: Path) -> list[str]:
    """What of a unit's JSON doesn't hold, in words; [] where all does. What can't be read doesn't hold."""
    try:
        found = read_kept(path)
    except BadInput as error:
        return [str(error)]
    told = []
    for kept in found:
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
