"""A finished audit of a run, as its unit kept it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shoestring.evals.audit_record import AUDIT_FILE, REPLIES_FILE, AuditRecord, read_audit
from shoestring.evals.audit_rows import AuditRow, read_rows
from shoestring.report.scores import UnitReport


@dataclass(frozen=True)
class AuditReport:
    unit: UnitReport
    record: AuditRecord
    rows: tuple[AuditRow, ...]
    file: str  # the replies, in the run's folder


def audit_of(path: Path, unit: UnitReport, run: Path) -> Iterator[AuditReport]:
    """Of an audit's unit that is finished; any other has none."""
    if unit.job == "audit" and (path / AUDIT_FILE).exists():
        file = path / REPLIES_FILE
        yield AuditReport(unit, read_audit(path), tuple(read_rows(file)), file.relative_to(run).as_posix())
