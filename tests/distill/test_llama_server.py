"""A real llama.cpp server as the teacher; skipped where there is none."""

import json

import pytest

from llama_server import llama_server
from shoestring.distill.teacher_score import HttpScorer
from shoestring.errors import BadInput
from shoestring.jobs import distill_outputs
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.lm import load
from shoestring.models.bases import BASES
from shoestring.remote.endpoint import Endpoint
from shoestring.remote.turns import Turns
from shoestring.run import Stage
from shoestring.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.base]


@pytest.fixture(scope="module")
def url():
    with llama_server(BASES["smollm2-135m"].path) as address:
        yield address


def test_it_is_sampled_from(url, tmp_path):
    loose = {"right": False, "uncut": False, "thinking": False, "readable": False, "min_language": 0.0}
    values = {
        "teacher": {"url": url, "model": "smollm2-135m", "concurrency": 2, "timeout_s": 300},
        "suites": ["sums:max_terms=2,max_digits=1"],
        "prompts": 2,
        "samples_per_prompt": 2,
        "max_completion_tokens": 6,
        "keep": loose | {"max_repetition": 1.0, "keep_per_problem": 2, "max_overlap": 1.0},
    }
    wanted = build(DistillOutputsSettings, values, "distill")
    with Stage(tmp_path / "d", "made") as stage:
        result = distill_outputs.main(wanted, stage)
    assert result["samples"] == 4
    assert result["spent"]["tokens"] > 4 * 20
    first = json.loads((tmp_path / "d/rows.jsonl").read_text().split("\n")[0])
    assert first["messages"][1]["content"].strip()
    assert first["teacher"] == "smollm2-135m"


def test_its_logprobs_of_a_text_are_our_models(url, tmp_path):
    lm = load("smollm2-135m", dtype="float32")
    ids = lm.tokenizer.encode("The capital of France")
    endpoint = Endpoint(url=url, model="smollm2-135m", timeout_s=300)
    turns = Turns(endpoint, tmp_path / "spent.jsonl", print, lambda: False)
    scores = HttpScorer(endpoint, "", "llama.cpp", turns, top=100).score(ids)
    ours = lm.logits([ids])[0].log_softmax(-1)
    assert scores.logprobs[0] is None  # " capital" after "The" alone is not among the likeliest
    for i, given in list(enumerate(scores.logprobs))[1:]:
        # its activations are in 8 bits: 0.21 apart at most when this was written
        assert given == pytest.approx(float(ours[i, ids[i + 1]]), abs=0.5)
        for token, other in list(scores.top[i].items())[:10]:
            assert other == pytest.approx(float(ours[i, token]), abs=0.5)
    for kind in ("vllm", "echo"):
        with pytest.raises(BadInput, match=f"as {kind} does"):
            HttpScorer(endpoint, "", kind, turns).score(ids)
