"""An audit as it is kept: `audit.json` beside `audit.parquet`, the replies.

A reader of a version that it doesn't know says so. docs/audits.md has the fields.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shoestring.errors import BadInput
from shoestring.evals.audit import Audited
from shoestring.evals.audit_figures import Difference, Figure
from shoestring.evals.audit_symmetry import Asymmetry
from shoestring.evals.audit_verdicts import Limits, Verdict
from shoestring.evals.readers_error import readers_error

SCHEMA, VERSION = "shoestring-audit", 1
AUDIT_FILE, REPLIES_FILE = "audit.json", "audit.parquet"


@dataclass(frozen=True)
class AuditRecord:
    """What a release and a report need of a kept audit."""

    model: str
    weights_sha256: str
    date: str
    lineage_known: bool
    verdicts: tuple[Verdict, ...]
    raw: dict[str, Any]

    def verdict(self, on: str) -> Verdict | None:
        return next((verdict for verdict in self.verdicts if verdict.on == on), None)


def to_json(
    audited: Audited,
    weights_sha256: str,
    made: dict[str, Any],
    limits: Limits,
    against: Audited | None = None,
    changed: Sequence[Difference] = (),
) -> dict[str, Any]:
    """`made`: the date, the package's version, how it was asked. `against`: the model that
    it stands beside, `changed` what differs."""
    agrees = audited.field_agrees
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "model": {
            "name": audited.name,
            "weights_sha256": weights_sha256,
            "lineage_known": audited.known,
            "may_name": sorted(audited.own),
        },
        "made": made | {"limits": limits.model_dump()},
        "verdicts": [asdict(verdict) for verdict in audited.verdicts(limits, changed)],
        "figures": [figure_json(figure) for figure in audited.figures],
        "asymmetries": [asymmetry_json(one) for one in audited.asymmetries],
        "model_field": None if agrees is None else {"agree": agrees[0], "n": agrees[1]},
        "against": None
        if against is None
        else {
            "name": against.name,
            "verdicts": [asdict(verdict) for verdict in against.verdicts(limits)],
            "asymmetries": [asymmetry_json(one) for one in against.asymmetries],
            "differences": [difference_json(one) for one in changed],
        },
        "notes": list(audited.notes),
        "readers": readers_error(),
        "replies": REPLIES_FILE,
    }


def figure_json(figure: Figure) -> dict[str, Any]:
    values = asdict(figure) | {"ci95": [figure.ci95.low, figure.ci95.high]}
    return values | ({} if figure.is_share else {"count": None})


def asymmetry_json(one: Asymmetry) -> dict[str, Any]:
    return {
        "group": one.group,
        "pairs": len(one.pairs),
        "dropped": one.dropped,
        "not_answered": [one.not_a, one.not_b],
        "difference": one.difference,
        "ci95": [one.ci95.low, one.ci95.high],
        "p_value": one.p_value,
        "adjusted": one.adjusted,
        "one_sided": one.one_sided,
        "differing": [asdict(pair) for pair in one.pairs if pair.difference],
    }


def difference_json(one: Difference) -> dict[str, Any]:
    return asdict(one) | {"ci95": [one.ci95.low, one.ci95.high], "verdict": one.verdict}


def read_audit(path: Path) -> AuditRecord:
    """`path`: the file or the folder that it lies in. Raises BadInput."""
    file = path / AUDIT_FILE if path.is_dir() else path
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        if raw.get("schema") != SCHEMA:
            raise BadInput(f"{file} is not an audit")
        if raw["version"] != VERSION:
            raise BadInput(f"{file} is an audit of version {raw['version']}; this package reads {VERSION}")
        model, verdicts = raw["model"], tuple(Verdict(**verdict) for verdict in raw["verdicts"])
        return AuditRecord(
            model["name"], model["weights_sha256"], raw["made"]["date"], model["lineage_known"], verdicts, raw
        )
    except OSError as error:
        raise BadInput(f"no audit in {path}: {error.strerror}; shoestring audit MODEL makes one") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} is not an audit: {error}") from None
