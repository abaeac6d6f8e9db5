"""`shoestring eval` and `shoestring sample` with `--cluster local`: what they give in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training_runs import save_base, toy_suite

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
WORKERS = ("generators=1", "cpus=0.1", "store_gib=0.1")
LOCAL = ["--cluster", "local", *(word for value in WORKERS for word in ("--workers", value))]


def shoestring(*words: object) -> None:
    path = f"{TESTS.parent / 'src'}:{TESTS}"
    command = [sys.executable, "-m", "shoestring", *map(str, words)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("cluster local: Ray" in done.stderr) == ("--cluster" in words)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_base(tmp_path_factory.mktemp("base") / "model")


def test_eval_scores_as_in_one_process(base, tmp_path) -> None:
    asked = ["eval", base, "--suite", "sums", "-n", 12, "--max-tokens", 8, "--dtype", "float32"]
    found = []
    for name, where in (("alone", []), ("cluster", LOCAL)):
        shoestring(*asked, "--output-dir", tmp_path / name, "--json", tmp_path / f"{name}.json", *where)
        found.append(json.loads((tmp_path / f"{name}.json").read_text()))
    alone, led = found
    assert led["n"] == 12
    for key in ("correct", "score", "tokens", "outcomes"):
        assert led[key] == alone[key]


def test_sample_keeps_the_rows_of_one_process(base, tmp_path) -> None:
    file = tmp_path / "sample.toml"
    file.write_text(
        f'model = "{base}"\nsuites = ["{toy_suite(tmp_path)}"]\nprompts = 6\nsamples_per_prompt = 2\n'
        'max_completion_tokens = 8\ndtype = "float32"\n'
        "keep = { uncut = false, thinking = false, readable = false, min_language = 0 }\n"
    )
    written = []
    for name, where in (("alone", []), ("cluster", LOCAL)):
        shoestring("sample", file, "--output-dir", tmp_path / name, *where)
        files = (tmp_path / name / kind for kind in ("rows.jsonl", "dropped.jsonl"))
        rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        written.append([{key: value for key, value in row.items() if key != "date"} for row in rows])
    assert len(written[0]) == 12
    assert written[1] == written[0]
