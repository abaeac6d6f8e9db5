"""What a run knows of a model that it made."""

import pytest

from shoestring.report.model_facts import ModelFacts, model_facts


def test_cost_and_audits_of_a_stages_model(run_folder):
    facts = model_facts(run_folder / "stages/01-zero/model")
    assert facts.cost is not None
    assert facts.cost.stages == ("zero",)
    assert facts.cost.seconds == pytest.approx(400)  # 20 steps of 20 s; not its random arm's
    assert facts.cost.kwh == pytest.approx(400 * 40 / 3.6e6)
    assert [audit.name for audit in facts.audits] == ["identity", "ordinary chat"]
    assert facts.audits[0].result == "of 200 replies 61 claim its own name, 12 another's"
    assert facts.audits[0].detail == "smollm 61, openai 12"
    assert facts == model_facts(run_folder / "stages/01-zero")


def test_an_arm_has_its_own(run_folder):
    facts = model_facts(run_folder / "stages/01-zero/random/model")
    assert facts.cost is not None
    assert facts.cost.seconds == pytest.approx(400)
    assert len(facts.audits) == 2


def test_a_model_from_elsewhere_has_none(tmp_path):
    assert model_facts(tmp_path / "model") == ModelFacts()
