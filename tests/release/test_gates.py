"""Every gate, closed and open."""

import dataclasses

import pytest

from shoestring.errors import BadInput, ShoestringError
from shoestring.evals.audit_record import AuditRecord
from shoestring.evals.audit_verdicts import Outcome, Verdict
from shoestring.origin import Lineage, Origin, Stage
from shoestring.release.evidence import Evaluation, Evidence, ModelAudit
from shoestring.release.gates import NAMES, Candidate, Gate, gates, read_overrides, refuse
from tiny import BASE

SUMS = Origin("procedural:sums", "Apache-2.0")
GOOD = Lineage((BASE, Stage("zero", "grpo", "2026-02-01", {}, (SUMS,))))
SCORE = {"suite": "sums", "n": 100, "k": 1, "seed": 0, "score": 0.5, "ci95": [0.4, 0.6], "lower_bound": False}


def evaluation(tmp_path, faults=(), **changes) -> Evaluation:
    return Evaluation(tmp_path / "e.json", SCORE | changes, tmp_path / "e.parquet", faults)


def audit(tmp_path, identity: Outcome = "pass", symmetry: Outcome = "pass", weights="w") -> ModelAudit:
    verdicts = (Verdict("identity", identity, "0 of 200"), Verdict("symmetry", symmetry, "no group"))
    return ModelAudit(tmp_path / "audit.json", AuditRecord("m", weights, "2026-02-02", True, verdicts, {}))


@pytest.fixture
def candidate(tmp_path) -> Candidate:
    evidence = Evidence((evaluation(tmp_path),), (audit(tmp_path),), None, None)
    return Candidate(
        name="zero",
        card="",
        lineage=GOOD,
        licence="Apache-2.0",
        weights=frozenset({"w"}),
        proofs={"hf": (True, ()), "gguf": (True, ())},
        evidence=evidence,
    )


def closed(candidate: Candidate) -> dict[str, Gate]:
    return {gate.name: gate for gate in gates(candidate, {}) if not gate.passes}


def with_evidence(candidate: Candidate, **changes) -> Candidate:
    return dataclasses.replace(candidate, evidence=dataclasses.replace(candidate.evidence, **changes))


def with_origin(candidate: Candidate, origin: Origin) -> Candidate:
    return dataclasses.replace(candidate, lineage=Lineage((BASE, Stage("sft", "sft", "", {}, (origin,)))))


def test_all_open(candidate):
    found = gates(candidate, {})
    assert tuple(gate.name for gate in found) == NAMES
    assert closed(candidate) == {}
    refuse(found)


def test_unknown_origin(candidate):
    for lineage in (Lineage(()), Lineage((Stage("m", "unknown", "", {}),))):
        found = closed(dataclasses.replace(candidate, lineage=lineage))
        assert "doesn't say where it came from" in found["known-origin"].why
    found = closed(with_origin(candidate, Origin("file:rows.jsonl", "unknown")))
    assert found["known-origin"].why.endswith("file:rows.jsonl")
    found = closed(with_origin(candidate, Origin("file:rows.jsonl", "MIT", "mystery-model")))
    assert found["known-origin"].why.endswith("mystery-model")


def test_a_barred_teacher_and_its_permission(candidate):
    barred = Origin("file:r.jsonl", "unknown", "gpt-4o", terms="barred")
    found = closed(with_origin(candidate, barred))
    assert set(found) == {"barred-teacher"}
    assert "gpt-4o" in found["barred-teacher"].why
    permitted = dataclasses.replace(barred, terms="permitted: by letter of 2026-01-01")
    assert closed(with_origin(candidate, permitted)) == {}


def test_a_naming_duty(candidate):
    llama = Stage("llama-3.1-8b", "base", "", {"copy_of": "meta-llama/Llama-3.1-8B", "licence": "llama3.1"})
    model = dataclasses.replace(candidate, lineage=Lineage((llama,)), licence="llama3.1")
    found = closed(model)
    assert "must begin with Llama" in found["naming"].why
    assert found["naming"].todo == "give it a --name that does"


def test_no_licence(candidate):
    for licence in ("", "unknown"):
        assert closed(dataclasses.replace(candidate, licence=licence)).keys() == {"licence"}


def test_proofs(candidate):
    assert closed(dataclasses.replace(candidate, proofs={})).keys() == {"proof"}
    failed = dataclasses.replace(candidate, proofs={"hf": (True, ()), "gguf": (False, ())})
    assert closed(failed)["proof"].why == "the proof of gguf failed"
    alone = {"hf": (True, ("with transformers: not installed here", "against its base: not here"))}
    found = closed(dataclasses.replace(candidate, proofs=alone))
    assert found["peer"].why == "hf not checked with transformers: not installed here"


def test_evaluations(candidate, tmp_path):
    assert closed(with_evidence(candidate, evaluations=())).keys() == {"evaluation"}
    other = evaluation(tmp_path, receipt={"made": {"weights": "x"}})
    assert (
        closed(with_evidence(candidate, evaluations=(other,)))["evaluation"].why == "of other weights: sums"
    )
    own = evaluation(tmp_path, receipt={"made": {"weights": "w"}})
    assert closed(with_evidence(candidate, evaluations=(own,))) == {}
    cut = with_evidence(candidate, evaluations=(evaluation(tmp_path, lower_bound=True),))
    assert "lower bounds" in closed(cut)["truncated-evaluation"].why
    bare = with_evidence(candidate, evaluations=(evaluation(tmp_path, faults=None),))
    assert closed(bare)["receipt"].why == "no receipt or no replies: sums"
    wrong = with_evidence(candidate, evaluations=(evaluation(tmp_path, faults=("score is 0.9",)),))
    assert closed(wrong)["receipt"].why == "sums: score is 0.9"


def test_audits(candidate, tmp_path):
    assert closed(with_evidence(candidate, audits=())).keys() == {
        "audited-weights",
        "identity-leak",
        "one-sided-answers",
    }
    other = with_evidence(candidate, audits=(audit(tmp_path, weights="x"),))
    assert closed(other).keys() == {"audited-weights"}
    leaky = with_evidence(candidate, audits=(audit(tmp_path, identity="fail"),))
    assert closed(leaky)["identity-leak"].why == "fail: 0 of 200"
    unsure = with_evidence(candidate, audits=(audit(tmp_path, symmetry="can't tell"),))
    assert closed(unsure).keys() == {"one-sided-answers"}
    whole = audit(tmp_path)
    part = dataclasses.replace(whole, record=dataclasses.replace(whole.record, verdicts=()))
    assert "no part identity" in closed(with_evidence(candidate, audits=(part,)))["identity-leak"].why
    # the last one of these weights counts
    both = (audit(tmp_path, identity="fail"), audit(tmp_path), audit(tmp_path, "fail", weights="x"))
    assert closed(with_evidence(candidate, audits=both)) == {}


def test_overrides_take_a_known_gate_and_a_reason(candidate):
    assert read_overrides(['evaluation="none fits"']) == {"evaluation": "none fits"}
    for wrong, said in (
        ("evaluatoin=x", "did you mean 'evaluation'"),
        ("evaluation", "needs a reason"),
        ('evaluation=""', "needs a reason"),
        ("barred-teacher=I may", "can't be overridden; train without it, or declare a permission"),
        ("naming=it is short", "can't be overridden; give it a --name"),
    ):
        with pytest.raises(BadInput, match=said):
            read_overrides([wrong])
    found = gates(with_evidence(candidate, evaluations=()), {"evaluation": "none fits"})
    refuse(found)
    assert [gate.override for gate in found if not gate.open] == ["none fits"]


def test_a_refusal_names_every_closed_gate_and_what_to_do(candidate):
    model = with_evidence(dataclasses.replace(candidate, licence=""), evaluations=())
    with pytest.raises(ShoestringError, match="2 gates are closed") as caught:
        refuse(gates(model, {}))
    assert "licence: nobody says under which (say it: --licence SPDX)" in str(caught.value)
    assert "evaluation: it was never evaluated (shoestring eval --output-dir DIR, then --eval DIR)" in str(
        caught.value
    )


def test_a_refusal_doesnt_offer_to_override_others_terms(candidate):
    barred = with_origin(candidate, Origin("file:r.jsonl", "MIT", "gpt-4o"))
    with pytest.raises(ShoestringError) as caught:
        refuse(gates(barred, {}))
    assert "--override" not in str(caught.value)
    with pytest.raises(ShoestringError, match=r"--override GATE.*\(but not barred-teacher\)"):
        refuse(gates(dataclasses.replace(barred, licence=""), {}))
