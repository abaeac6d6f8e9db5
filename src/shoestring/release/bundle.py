"""The folder of a release: exports with their proofs, the card, what speaks for the model, and a manifest
with the hash of every file."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shoestring.origin import LINEAGE_FILE
from shoestring.release.evidence import Evidence
from shoestring.release.gates import Gate
from shoestring.release.proof import hashes
from shoestring.run.files import dumps, write_atomic

MANIFEST, CARD, BILL, RECIPE = "release.json", "README.md", "bill.json", "recipe.toml"
EVALS, AUDITS = "evaluations", "audits"
VERSION = 1


def copy_evidence(evidence: Evidence, folder: Path) -> None:
    """Evaluations with their replies, audits with theirs, the recipe and the bill."""
    for number, one in enumerate(evidence.evaluations):
        place = folder / EVALS / f"{number:02d}"
        place.mkdir(parents=True)
        shutil.copy2(one.path, place / one.path.name)
        if one.rows is not None:
            shutil.copy2(one.rows, place / one.rows.name)
    for number, audit in enumerate(evidence.audits):
        place = folder / AUDITS / f"{number:02d}"
        place.mkdir(parents=True)
        shutil.copy2(audit.path, place / audit.path.name)
        replies = audit.path.parent / str(audit.record.raw.get("replies", ""))
        if replies.is_file():
            shutil.copy2(replies, place / replies.name)
    if evidence.run is not None:
        shutil.copy2(evidence.run / "recipe.toml", folder / RECIPE)
    if evidence.cost is not None:
        write_atomic(folder / BILL, dumps(asdict(evidence.cost), indent=2) + "\n")


def write_manifest(
    folder: Path,
    name: str,
    made: str,
    versions: dict[str, str],
    gates: Sequence[Gate],
    formats: Sequence[str],
) -> dict[str, Any]:
    """Last, when all else is there."""
    values = {
        "version": VERSION,
        "name": name,
        "made": made,
        "versions": versions,
        "formats": list(formats),
        "gates": [asdict(gate) for gate in gates],
        "lineage": LINEAGE_FILE,
        "files": hashes(folder, MANIFEST),
    }
    write_atomic(folder / MANIFEST, dumps(values, indent=1) + "\n")
    return values
