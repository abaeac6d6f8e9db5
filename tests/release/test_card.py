"""The card says what is known, and hubs can read its header."""

import dataclasses
from typing import Any

import pytest
from huggingface_hub import ModelCard

from shoestring.evals.audit_record import AuditRecord
from shoestring.evals.audit_verdicts import Verdict
from shoestring.origin import Lineage, Origin, Stage
from shoestring.release.card import Described, card
from shoestring.release.evidence import Evaluation, Evidence, ModelAudit
from shoestring.release.gates import Gate
from shoestring.report.model_facts import Cost
from shoestring.run.progress import duration
from tiny import BASE

TEACHER = Origin("file:r.jsonl", "MIT", "DeepSeek-R1", teacher_licence="MIT", terms="allowed")
STAGE = Stage("sft", "sft", "2026-02-01", {"steps": 3}, (TEACHER, Origin("procedural:sums", "Apache-2.0")))


@pytest.fixture
def model(tmp_path) -> Described:
    values = {"suite": "sums:max_terms=4", "n": 256, "k": 1, "seed": 0, "score": 0.5, "ci95": [0.44, 0.56]}
    values |= {
        "truncated": 30,
        "unparsed": 2,
        "lower_bound": True,
        "settings": {"max_tokens": 96, "system": None},
    }
    verdict = Verdict("identity", "can't tell", "n too small")
    audit = ModelAudit(
        tmp_path, AuditRecord("zero", "a" * 64, "2026-02-02", True, (verdict,), {"notes": ["a note"]})
    )
    evidence = Evidence(
        (Evaluation(tmp_path, values, None, None),), (audit,), tmp_path, Cost(("sft",), 3600.0, 0.065, 0.0195)
    )
    return Described(
        name="zero",
        lineage=Lineage((BASE, STAGE)),
        licence="Apache-2.0",
        parameters=134_515_008,
        window=2048,
        chat=True,
        mtp_left_out=False,
        proofs={"hf": ["proof: 32 prompts"], "gguf": ["proof: 31 prompts"]},
        files={"hf": "hf", "gguf": "gguf/zero-Q8_0.gguf"},
        evidence=evidence,
    )


def test_hubs_read_the_header(model):
    read: Any = ModelCard(card(model, []))
    assert read.data.license == "apache-2.0"
    assert read.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert read.data.tags == ["shoestring", "sft"]
    assert read.data.pipeline_tag == "text-generation"
    (result,) = read.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == (
        "sums:max_terms=4",
        "accuracy",
        0.5,
    )
    assert result.metric_name == "at least (replies were cut), [44.0, 56.0], n = 256"
    assert result.dataset_args == {"settings": "max_tokens 96", "seed": 0}


def test_what_it_says(model):
    said = card(model, [Gate("identity-leak", False, "can't tell: n too small", "", "a toy")])
    for words in (
        "134,515,008 parameters",
        "made from HuggingFaceTB/SmolLM2-135M-Instruct",
        "| sums:max_terms=4 | at least 50.0 % [44.0, 56.0] | 256 | 1 | 30 | 2 | max_tokens 96 | 0 | none |",
        "- identity: **can't tell**, n too small",
        "- a note",
        "DeepSeek-R1",
        "procedural:sums",
        "| sft | sft | 2026-02-01 | steps 3 |",
        f"{duration(3600)} of this machine's time",
        "0.065 kWh and 0.0195 USD",
        "Left out: evaluations and audits, runs that were tried before this one",
        "- **identity-leak** was closed: can't tell: n too small. Released all the same: a toy",
        "- identity-leak: can't tell: n too small.",
        "llama-server -m gguf/zero-Q8_0.gguf --jinja",
        "proof: 31 prompts",
        "Apache-2.0.",
    ):
        assert words in said, words


def test_what_is_not_known_is_said_to_be_so(model):
    bare = dataclasses.replace(
        model,
        lineage=Lineage((Stage("m", "unknown", "", {}),)),
        licence="",
        evidence=Evidence((), (), None, None),
    )
    said = card(bare, [])
    read: Any = ModelCard(said)
    assert read.data.license == "other"
    assert read.data.eval_results is None
    assert read.data.base_model is None
    for words in (
        "of unknown origin",
        "None was made.",
        "nobody has looked at who it says it is",
        "Not known: no run of this package made it",
        "Nobody has said under which licence",
        "Evaluated on nothing",
    ):
        assert words in said, words


def test_duties_stand_at_the_top(model):
    llama = Stage("llama-3.1-8b", "base", "", {"copy_of": "meta-llama/Llama-3.1-8B", "licence": "llama3.1"})
    said = card(dataclasses.replace(model, lineage=Lineage((llama,))), [])
    assert "# Llama-zero" in said
    assert said.index("Built with Llama") < said.index("How to run it")
