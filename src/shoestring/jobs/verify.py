"""Look over an export or a release that somebody else made: hashes, proofs, receipts."""

from pathlib import Path
from typing import Any

from rich.console import Console

from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs.export import PeerSettings
from shoestring.release.prove import Readers
from shoestring.release.receipts import check_unit
from shoestring.release.verify import verify


class VerifySettings(PeerSettings):
    folder: Path
    rerun: bool = False  # make the proof again, with what is installed here


def main(settings: VerifySettings, console: Console) -> dict[str, Any]:
    """Raises ShoestringError where anything isn't as it was."""
    if not settings.folder.is_dir():
        raise BadInput(f"no such folder: {settings.folder}")
    readers = settings.find() if settings.rerun else Readers(None, None, settings.threads)

    def say(text: str) -> None:
        console.print(text, markup=False, style="dim")

    found = verify(settings.folder, settings.rerun, readers, check_unit, say)
    for mark, lines in (("holds", found.held), ("not checked", found.unchecked), ("WRONG", found.faults)):
        for line in lines:
            console.print(f"{mark}: {line}", markup=False)
    if found.faults:
        more = f" and {len(found.faults) - 1} more" if len(found.faults) > 1 else ""
        raise ShoestringError(f"{settings.folder} is not what it says: {found.faults[0]}{more}")
    console.print(f"{settings.folder}: everything that was checked is as it was", markup=False)
    return {"folder": str(settings.folder), "held": found.held, "not_checked": found.unchecked}
