"""A real llama.cpp server as the teacher: `llama-server` on the PATH, or the package xllamacpp of this Python
or of the one that LLAMA_PYTHON names; skipped where there is none."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from shoestring.distill.teacher_score import HttpScorer
from shoestring.errors import BadInput
from shoestring.jobs import distill_outputs
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.lm import load
from shoestring.models.bases import BASES
from shoestring.remote.endpoint import Endpoint
from shoestring.run import Stage
from shoestring.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.base]
SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 2, 1
server = xllamacpp.Server(params)
sys.stdin.read()
"""


def command(model: Path, port: int) -> list[str] | None:
    binary, python = shutil.which("llama-server"), os.environ.get("LLAMA_PYTHON")
    if binary:
        return [binary, "-m", str(model), "--port", str(port), "-c", "2048", "-np", "2", "-t", "1"]
    if python is None and importlib.util.find_spec("xllamacpp"):
        python = sys.executable
    return None if python is None else [python, "-c", SERVE, str(model), str(port)]


@pytest.fixture(scope="module")
def url():
    model = BASES["smollm2-135m"].path
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = command(model, port)
    if start is None or not model.exists():
        pytest.skip("no llama.cpp server or no base here")
    server = subprocess.Popen(
        start, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, TimeoutError):
                assert server.poll() is None, "the server ended"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.kill()
        server.wait()


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


def test_its_logprobs_of_a_text_are_our_models(url):
    lm = load("smollm2-135m", dtype="float32")
    ids = lm.tokenizer.encode("The capital of France")
    endpoint = Endpoint(url=url, model="smollm2-135m", timeout_s=300)
    scores = HttpScorer(endpoint, "", "llama.cpp", top=100).score(ids)
    ours = lm.logits([ids])[0].log_softmax(-1)
    assert scores.logprobs[0] is None  # " capital" after "The" alone is not among the likeliest
    for i, given in list(enumerate(scores.logprobs))[1:]:
        # its activations are in 8 bits: 0.21 apart at most when this was written
        assert given == pytest.approx(float(ours[i, ids[i + 1]]), abs=0.5)
        for token, other in list(scores.top[i].items())[:10]:
            assert other == pytest.approx(float(ours[i, token]), abs=0.5)
    for kind in ("vllm", "echo"):
        with pytest.raises(BadInput, match=f"as {kind} does"):
            HttpScorer(endpoint, "", kind).score(ids)
