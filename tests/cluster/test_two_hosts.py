"""A real Ray cluster of two hosts over a virtual link runs a recipe: needs root, and iproute2."""

import subprocess
import sys
from pathlib import Path

import pytest

from two_hosts import inside, permitted, two_hosts

pytest.importorskip("ray")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not permitted(), reason="no network namespaces: they need root and iproute2")
def test_a_recipe_runs_on_two_hosts(tmp_path):
    out = tmp_path / "out"
    with two_hosts() as (head, address), (tmp_path / "said").open("w") as said:
        command = [sys.executable, "-m", "shoestring", "run", "recipes/tiny-v3.toml", "--scale", "small"]
        command += ["--cluster", address, "--output-dir", str(out)]
        running = inside(head, command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        try:
            assert running.wait(900) == 0, (tmp_path / "said").read_text()[-2000:]
        finally:
            running.kill()
    assert "2 hosts, 4 CPU" in (tmp_path / "said").read_text()
    assert (out / "report.md").exists()
    assert len(list((out / "stages").glob("*/result.json"))) == 6
