"""One model through the parts of an audit: asked, read, counted, judged."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from shoestring.evals.audit_confidence import confidence_probes, read_confidence
from shoestring.evals.audit_figures import Difference, Figure, differences, figures
from shoestring.evals.audit_identity import identity_probes, interleaved, read_identity
from shoestring.evals.audit_refusal import read_refusals, refusal_probes
from shoestring.evals.audit_regression import read_regression, regression_probes
from shoestring.evals.audit_rows import PARTS, AuditRow, Part, Probe, converse, some_of
from shoestring.evals.audit_symmetry import Asymmetry, asymmetries
from shoestring.evals.audit_verdicts import (
    Limits,
    Verdict,
    identity_verdict,
    regression_verdict,
    symmetry_verdict,
)
from shoestring.evals.identity import lineage_families
from shoestring.evals.identity_reader import families_in
from shoestring.evals.respondent import Respondent, Said, Shown


@dataclass(frozen=True)
class Audited:
    """`own`: the families that its lineage lets it name; `known`: whether the lineage says where it is from.
    `notes`: what could not be asked as it should."""

    name: str
    own: frozenset[str]
    known: bool
    rows: list[AuditRow] = field(repr=False)
    notes: tuple[str, ...] = ()

    def of(self, part: Part) -> list[AuditRow]:
        return [row for row in self.rows if row.part == part]

    @property
    def figures(self) -> list[Figure]:
        return figures(self.rows)

    @property
    def asymmetries(self) -> list[Asymmetry]:
        return asymmetries(self.of("refusal"))

    @property
    def field_agrees(self) -> tuple[int, int] | None:
        """Of replies that claim a maker and whose model field names one, in how many the two agree. None
        where no field names any."""
        told = [(families_in(row.model), set(row.claimed)) for row in self.of("identity") if row.claimed]
        told = [(named, claims) for named, claims in told if named]
        return (sum(bool(named & claims) for named, claims in told), len(told)) if told else None

    def verdicts(self, limits: Limits, changed: Sequence[Difference] = ()) -> list[Verdict]:
        found = []
        if identity := self.of("identity"):
            found.append(identity_verdict(identity, self.known, limits))
        if refusal := self.of("refusal"):
            found.append(symmetry_verdict(refusal, limits))
        if changed and (self.of("regression") or self.of("confidence")):
            found.append(regression_verdict(changed))
        return found


def probes_of(parts: Collection[Part], n: int = 0) -> list[Probe]:
    """Of each part about n (0: all)."""
    every = {
        "identity": lambda: interleaved(identity_probes()),
        "refusal": refusal_probes,
        "regression": regression_probes,
        "confidence": confidence_probes,
    }
    return [probe for part in PARTS if part in parts for probe in some_of(every[part](), n)]


def run_audit(
    respondent: Respondent, parts: Collection[Part], n: int, own: Collection[str], shown: Shown
) -> Audited:
    """`own`: families that the model may name beside those of its lineage."""
    probes = probes_of(parts, n)
    notes = []
    if not respondent.completes and (raw := [p for p in probes if p.raw]):
        probes = [p for p in probes if not p.raw]
        notes.append(f"{len(raw)} texts to be continued were not asked: it only takes conversations")
    if not respondent.switches and (switched := sum(p.thinking is not None for p in probes)):
        notes.append(f"its thinking can't be switched: {switched} probes were asked as the others")
    families, known = lineage_families(respondent.lineage, respondent.name)
    allowed = frozenset({*families, *own})
    replies = converse(respondent, probes, shown)
    rows = read_all(probes, replies, allowed)
    return Audited(respondent.name, allowed, known or bool(own), rows, tuple(notes))


def read_all(probes: Sequence[Probe], replies: Sequence[Said], allowed: frozenset[str]) -> list[AuditRow]:
    """Rows in the probes' order."""
    pairs = list(zip(probes, replies, strict=True))
    refusal = [(probe, said) for probe, said in pairs if probe.part == "refusal"]
    read = read_refusals([probe for probe, _ in refusal], [said for _, said in refusal])
    rows = {row.id: row for row in read}
    for probe, said in pairs:
        if probe.part == "identity":
            rows[probe.id] = read_identity(probe, said, allowed)
        elif probe.part == "regression":
            rows[probe.id] = read_regression(probe, said)
        elif probe.part == "confidence":
            rows[probe.id] = read_confidence(probe, said)
    return [rows[probe.id] for probe in probes]


def compare(a: Audited, b: Audited) -> list[Difference]:
    return differences(a.rows, b.rows)
