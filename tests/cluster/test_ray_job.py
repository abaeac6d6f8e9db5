"""`ray job submit -- shoestring ...` to a Ray that runs here, and `ray job stop`: what was done is saved."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranks import free_port
from training_runs import save_base, toy_suite

pytest.importorskip("ray")
pytest.importorskip("aiohttp_cors", reason="ray job submit needs pip install 'ray[default]'")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
OWN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def head() -> Iterator[str]:
    """The address of its dashboard."""
    dashboard = free_port()
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        ports = ["--port", str(free_port()), "--dashboard-port", str(dashboard)]
        ports += [
            "--dashboard-agent-listen-port",
            str(free_port()),
            "--ray-client-server-port",
            str(free_port()),
        ]
        small = ["--num-cpus", "4", "--object-store-memory", "200000000", "--temp-dir", folder]
        command = [*RAY, "start", "--head", "--block", "--include-dashboard", "true", *ports, *small]
        with Path(folder, "said").open("w") as said:
            own = {"env": os.environ | OWN, "start_new_session": True}
            node = subprocess.Popen(command, stdout=said, stderr=said, **own)
            try:
                yield f"http://127.0.0.1:{dashboard}"
            finally:
                node.terminate()
                try:
                    node.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(node.pid, signal.SIGKILL)
                    node.wait()


def job(address: str, *words: str, patience_s: float = 60.0) -> str:
    """Asked again while the head still starts."""
    until = time.monotonic() + patience_s
    while True:
        done = subprocess.run(
            [*RAY, "job", words[0], "--address", address, *words[1:]],
            env=os.environ | OWN | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        starting = "Failed to connect" in said or "No available agent" in said
        if not starting or time.monotonic() > until:
            return said
        time.sleep(2)


def test_a_job_that_is_stopped_is_saved_and_the_next_goes_on(tmp_path: Path) -> None:
    file, folder = tmp_path / "grpo.toml", tmp_path / "run"
    file.write_text(
        f'model = "{save_base(tmp_path / "model")}"\nsuites = ["{toy_suite(tmp_path)}"]\nsteps = 4000\n'
        'prompts_per_step = 2\nsamples_per_prompt = 4\nmax_completion_tokens = 4\ndtype = "float32"\n'
        'reward = "random"\n'
        "save_every = 4000\nred_team = false\npreflight = { prompts = 0 }\n"
        "trips = { drift = { limit = 100.0 } }\n"
    )
    asked = [sys.executable, "-m", "shoestring", "grpo", str(file), "--output-dir", str(folder), "--resume"]
    asked += ["--cluster", "auto", "--workers", "generators=1", "--workers", "cpus=0.5"]
    variables = OWN | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "RAY_JOB_STOP_WAIT_TIME_S": "100"}
    sent = ["submit", "--no-wait", "--runtime-env-json", json.dumps({"env_vars": variables})]
    steps = folder / "metrics.jsonl"
    with head() as address:
        for name in ("first", "second"):
            before = len(steps.read_text().splitlines()) if steps.exists() else 0
            assert f"Job '{name}' submitted" in job(address, *sent, "--submission-id", name, "--", *asked)
            until, looked = time.monotonic() + 280, time.monotonic()
            while not steps.exists() or len(steps.read_text().splitlines()) < before + 2:
                if time.monotonic() - looked > 20:  # asking takes seconds of its own
                    ended = time.monotonic() > until or "FAILED" in job(address, "status", name)
                    assert not ended, job(address, "logs", name)
                    looked = time.monotonic()
                time.sleep(0.1)
            job(address, "stop", name)
            said = job(address, "logs", name)
            done = len(steps.read_text().splitlines())
            assert f"stopped after step {done} of" in said, said
            assert json.loads((folder / "state/progress.json").read_text())["step"] == done
            assert (f"going on from step {before}" in said) == (before > 0)
