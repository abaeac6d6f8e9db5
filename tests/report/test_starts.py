"""The base that a run's model was trained from."""

import pytest

from shoestring.report.starts import start_of

RECIPE = {
    "stage": [
        {"name": "sft", "job": "sft", "model": "smollm2-135m"},
        {"name": "rl", "job": "grpo", "model": "stage:sft"},
        {"name": "tokenizer", "job": "tokenizer"},
        {"name": "v3", "job": "pretrain", "tokenizer": "stage:tokenizer"},
        {"name": "student", "job": "distill-distribution", "model": "stage:v3", "teacher": "stage:rl"},
    ],
    "arm": [{"name": "other", "set": {"sft.model": "folder/base", "rl.steps": 3}}],
}


@pytest.mark.parametrize(
    ("model", "arm", "start"),
    [
        ("smollm2-135m", "", "smollm2-135m"),
        ("stage:rl", "", "smollm2-135m"),
        ("stage:rl", "other", "folder/base"),
        ("stage:v3", "", "stage:v3"),
        ("stage:student", "", "stage:v3"),  # not what its teacher was
        ("stage:tokenizer", "", ""),
    ],
)
def test_what_a_model_was_trained_from(model: str, arm: str, start: str):
    assert start_of(model, arm, RECIPE, {"stage:v3"}) == start
