"""`kill -9` of the process that runs the job with `--cluster local`: what it had started ends with it, and
`--resume` goes on to the same bits."""

import os
import secrets
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from shoestring.jobs.grpo import GRPOSettings
from shoestring.settings import build
from training_runs import metrics, run, same, save_base, timeless, toy_suite, weights

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
MARK = "STARTED_BY"


def until(holds: Callable[[], bool], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def started(mark: str) -> dict[int, str]:
    """Processes that live with this mark in the environment that they began with, and their commands."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it is gone, or never was ours
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_killed_run_had_started_ends_with_it_and_a_resume_goes_on(tmp_path) -> None:
    file, folder, mark = tmp_path / "grpo.toml", tmp_path / "run", secrets.token_hex(8)
    file.write_text(
        f'model = "{save_base(tmp_path / "model")}"\nsuites = ["{toy_suite(tmp_path)}"]\nsteps = 60\n'
        'prompts_per_step = 2\nsamples_per_prompt = 4\nmax_completion_tokens = 4\ndtype = "float32"\n'
        'reward = "random"\nsave_every = 4\nred_team = false\npreflight = { prompts = 0 }\n'
        "trips = { drift = { limit = 100.0 } }\n"
    )
    command = [sys.executable, "-m", "shoestring", "grpo", str(file), "--output-dir", str(folder)]
    for word in ("generators=1", "cpus=0.1", "store_gib=0.1"):
        command += ["--workers", word]
    command += ["--cluster", "local"]
    own = os.environ | {"PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}", MARK: mark}
    with (tmp_path / "said").open("w") as said:
        driver = subprocess.Popen(command, env=own, stdout=said, stderr=said)
        try:
            until(lambda: (folder / "metrics.jsonl").exists() and len(metrics(folder)) > 5, 120)
            assert len(started(mark)) > 4, "the driver, Ray's own processes, a generator, a trainer, a judge"
        finally:
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
        assert not (folder / "result.json").exists()
        until(lambda: not started(mark), 60)
        subprocess.run([*command, "--resume"], env=own, stdout=said, stderr=said, check=True)
    assert "going on from step" in (tmp_path / "said").read_text()
    alone = tmp_path / "alone"
    run(build(GRPOSettings, tomllib.loads(file.read_text()), "grpo"), alone)
    assert same(weights(folder), weights(alone))
    assert timeless(folder) == timeless(alone)
