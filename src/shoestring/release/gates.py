"""What stands between a model and its release, each by name with what to do about it. A gate is overridden
by name and with a reason, which the card shows; what others' terms ask for is not ours to override."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shoestring.errors import BadInput, ShoestringError
from shoestring.origin import Lineage
from shoestring.provenance.naming import duties_of, faults
from shoestring.provenance.reach import Reach, reaches
from shoestring.release.evidence import Evidence, ModelAudit
from shoestring.settings import nearest

Told = tuple[bool, str, str]  # open, why, what to do


@dataclass(frozen=True)
class Gate:
    """why: what was found. todo: what would open it. override: the reason that was given."""

    name: str
    open: bool
    why: str
    todo: str = ""
    override: str = ""

    @property
    def passes(self) -> bool:
        return self.open or bool(self.override)


@dataclass(frozen=True)
class Candidate:
    """weights: the hashes that an audit of this model may carry. proofs: the verdict of each format that was
    made, and with which reader it couldn't be checked. licence: of the model, "" where nobody says."""

    name: str
    card: str
    lineage: Lineage
    licence: str
    weights: frozenset[str]
    proofs: Mapping[str, tuple[bool, Sequence[str]]]
    evidence: Evidence


NAMES = (
    "known-origin",
    "barred-teacher",
    "naming",
    "licence",
    "proof",
    "peer",
    "evaluation",
    "truncated-evaluation",
    "receipt",
    "audited-weights",
    "identity-leak",
    "one-sided-answers",
)

# what others' terms ask for, with what opens the gate in the place of an override
ALWAYS = {
    "barred-teacher": "train without it, or declare a permission in writing",
    "naming": "give it a --name that the terms allow",
}


def read_overrides(given: Sequence[str]) -> dict[str, str]:
    """`['identity-leak="a reason"']` by gate. Raises BadInput on a name that isn't one's, on a gate that
    can't be overridden, and without a reason."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, reason = text.partition("=")
        reason = reason.strip().strip("\"'").strip()
        if name not in NAMES:
            raise BadInput(f"--override {name}: no such gate{nearest(name, [*NAMES])}")
        if name in ALWAYS:
            raise BadInput(f"--override {name}: others' terms can't be overridden; {ALWAYS[name]}")
        if not equals or not reason:
            raise BadInput(f'--override {name} needs a reason, which the card shows: --override {name}="WHY"')
        found[name] = reason
    return found


def gates(candidate: Candidate, overrides: Mapping[str, str]) -> list[Gate]:
    audit = _audit_of(candidate)
    reached = reaches(candidate.lineage)
    told: dict[str, Told] = {
        "known-origin": _known_origin(candidate, reached),
        "barred-teacher": _barred(reached),
        "naming": _naming(candidate),
        "licence": _licence(candidate),
        "proof": _proof(candidate),
        "peer": _peer(candidate),
        "evaluation": _evaluated(candidate),
        "truncated-evaluation": _truncated(candidate),
        "receipt": _receipts(candidate),
        "audited-weights": _audited(candidate, audit),
        "identity-leak": _verdict(audit, "identity"),
        "one-sided-answers": _verdict(audit, "symmetry"),
    }
    return [Gate(name, *told[name], overrides.get(name, "")) for name in NAMES]


def refuse(found: Sequence[Gate]) -> None:
    """Raises ShoestringError, one line, naming every closed gate that nobody overrode."""
    closed = [gate for gate in found if not gate.passes]
    if closed:
        words = "; ".join(f"{gate.name}: {gate.why} ({gate.todo})" for gate in closed)
        gates = "1 gate is" if len(closed) == 1 else f"{len(closed)} gates are"
        held = [gate.name for gate in closed if gate.name in ALWAYS]
        opens = '. --override GATE="reason" opens one, and the card says so' if closed[len(held) :] else ""
        but = f" (but not {', '.join(held)})" if opens and held else ""
        raise ShoestringError(f"not released, {gates} closed: {words}{opens}{but}")


def _known_origin(candidate: Candidate, reached: Sequence[Reach]) -> Told:
    todo = "declare it: shoestring audit MODEL --source WHERE --licence SPDX, of it or its data"
    if not candidate.lineage.stages or candidate.lineage.stages[0].job == "unknown":
        return False, "its lineage doesn't say where it came from", todo
    vague = [reach for reach in reached if _is_vague(reach)]
    if vague:
        named = ", ".join(dict.fromkeys(_named(reach) for reach in vague))
        return False, f"no licence or terms are known of what reached it: {named}", todo
    return True, f"{len(reached)} things reached it, each with a licence", ""


def _is_vague(reach: Reach) -> bool:
    unknown = reach.term is not None and reach.term.ruling == "unknown"
    return unknown or (reach.kind == "data" and reach.licence.strip().lower() in ("", "unknown"))


def _named(reach: Reach) -> str:
    if reach.origin is not None:
        return reach.origin.teacher or reach.origin.source
    return reach.term.teacher if reach.term else reach.path[-1]


def _barred(reached: Sequence[Reach]) -> Told:
    barred = [reach for reach in reached if reach.term is not None and reach.term.ruling == "barred"]
    if not barred:
        return True, "no teacher's terms bar it", ""
    named = ", ".join(dict.fromkeys(f"{r.term.cited()}" for r in barred if r.term))
    return False, f"{_named(barred[0])}: {named}", "train without it, or declare a written --permission"


def _naming(candidate: Candidate) -> Told:
    wrong = faults(candidate.name, candidate.card, duties_of(candidate.lineage))
    return not wrong, "; ".join(wrong) or "its name and card meet every duty", "give it a --name that does"


def _licence(candidate: Candidate) -> Told:
    known = candidate.licence.strip().lower() not in ("", "unknown")
    return known, candidate.licence if known else "nobody says under which", "say it: --licence SPDX"


def _proof(candidate: Candidate) -> Told:
    if not candidate.proofs:
        return False, "nothing was exported", "choose a --format"
    failed = [form for form, (passed, _) in candidate.proofs.items() if not passed]
    if failed:
        return False, f"the proof of {', '.join(failed)} failed", "export it again"
    return True, f"{', '.join(candidate.proofs)}: proven to be the model", ""


def _peer(candidate: Candidate) -> Told:
    """A proof by the package that wrote the file says less."""
    lacking = [
        f"{form} not checked {reason}"
        for form, (_, reasons) in candidate.proofs.items()
        for reason in reasons
        if reason.startswith("with ")
    ]
    told = "; ".join(lacking) or "read by transformers or llama.cpp too"
    return not lacking, told, "install it, or say where it is with --transformers or --llama-cpp"


def _evaluated(candidate: Candidate) -> Told:
    found, todo = candidate.evidence.evaluations, "shoestring eval --output-dir DIR, then --eval DIR"
    others = [e.values["suite"] for e in found if e.weights and e.weights not in candidate.weights]
    if others:
        return False, f"of other weights: {', '.join(others)}", todo
    return bool(found), f"{len(found)} evaluations" if found else "it was never evaluated", todo


def _truncated(candidate: Candidate) -> Told:
    bounds = [e.values["suite"] for e in candidate.evidence.evaluations if e.values.get("lower_bound")]
    told = f"scores that are lower bounds, since over 5 % of the replies were cut: {', '.join(bounds)}"
    return not bounds, told if bounds else "no score is a lower bound", "evaluate with a larger --max-tokens"


def _receipts(candidate: Candidate) -> Told:
    found = candidate.evidence.evaluations
    without = [e.values["suite"] for e in found if e.faults is None]
    wrong = [f"{e.values['suite']}: {fault}" for e in found for fault in e.faults or ()]
    if wrong:
        return False, "; ".join(wrong), "evaluate it again"
    if without:
        return False, f"no receipt or no replies: {', '.join(without)}", "evaluate it again with this version"
    return True, f"{len(found)} receipts hold for their replies", ""


def _audit_of(candidate: Candidate) -> ModelAudit | None:
    """The last of these weights, else the last of all."""
    audits = candidate.evidence.audits
    own = [audit for audit in audits if audit.record.weights_sha256 in candidate.weights]
    return next(reversed(own or audits), None)


def _audited(candidate: Candidate, audit: ModelAudit | None) -> Told:
    todo = "shoestring audit MODEL --output-dir DIR, then --audit DIR"
    if audit is None:
        return False, "it was never audited", todo
    same = audit.record.weights_sha256 in candidate.weights
    return same, "of these weights" if same else "the audit is of other weights", todo


def _verdict(audit: ModelAudit | None, on: str) -> Told:
    todo = "train it away, or show it with more probes"
    if audit is None:
        return False, "it was never audited", "shoestring audit MODEL --output-dir DIR, then --audit DIR"
    verdict = audit.record.verdict(on)
    if verdict is None:
        return False, f"the audit has no part {on}", "audit the model again, with this part"
    return verdict.outcome == "pass", f"{verdict.outcome}: {verdict.why}", todo
