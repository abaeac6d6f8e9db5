"""The four recipes of R1-Zero and R1: what they promise, and all of them at small scale."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import Unit, expand
from shoestring.lm import load

ROOT = Path(__file__).parents[1]
ZEROS = ("r1-zero", "r1-zero-tiny-v3")
WHOLE = {"r1": "smollm2-135m", "r1-tiny-v3": "stage:pretrain"}  # and what every new beginning is from
CONTROLS = ("random", "shuffled", "format")


def units(name: str, controls: bool = False) -> list[Unit]:
    return expand(load_recipe(ROOT / f"recipes/{name}.toml", {}, "full", controls=controls), JOBS)


@pytest.mark.parametrize("name", [*ZEROS, *WHOLE])
def test_controls_are_one_switch(name):
    plain, with_controls = units(name), units(name, controls=True)
    assert {u.arm for u in plain} == {""}
    assert {u.arm for u in with_controls} == {"", *CONTROLS}
    rewarded = [u for u in with_controls if u.job == "grpo"]
    assert {(u.arm, u.resolved["reward"]) for u in rewarded} == {("", "task"), *((c, c) for c in CONTROLS)}


@pytest.mark.parametrize("name", ZEROS)
def test_zero_meets_no_solution(name):
    jobs = [u.job for u in units(name)]
    assert "sft" not in jobs
    assert [job for job in jobs if job != "audit"][-1] == "eval"


@pytest.mark.parametrize(("name", "base"), WHOLE.items())
def test_the_four_stages_and_what_they_start_from(name, base):
    own = {u.stage: u for u in units(name)}
    begins = {stage: own[stage].values["model"] for stage in ("zero", "cold-start", "sft-2", "helpful")}
    assert set(begins.values()) == {base}  # the second SFT too is of the base, not of what RL made
    assert own["rl-1"].values["model"] == "stage:cold-start"
    assert own["sample"].values["model"] == "stage:rl-1"
    assert own["sft-2"].needs["stage:sample"] is own["sample"]
    assert own["rl-2"].values["model"] == "stage:sft-2"
    assert own["rl-1"].resolved["shape"]["language"]["weight"] > 0
    late = own["rl-2"].resolved
    assert late["late_suites"] == ["chat"]
    assert 1 < late["late_from"] == late["preference"]["from_step"] <= late["steps"]
    assert any("language=zh" in suite for suite in late["suites"])
    assert own["eval"].job == "eval"
    assert set(list(own)[list(own).index("eval") + 1 :]) <= {"audit-r1"}


@pytest.mark.slow
@pytest.mark.base
@pytest.mark.parametrize("name", [*ZEROS, *WHOLE])
def test_small_scale_runs_through(name, tmp_path):
    folder = tmp_path / "small"
    command = [sys.executable, "-m", "shoestring", "run", str(ROOT / f"recipes/{name}.toml")]
    words = ["--scale", "small", "--output-dir", str(folder)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert "stage by stage" in done.stdout
    lm = load(folder)
    assert lm.lineage.stages[-1].job == "grpo"
    if name in WHOLE:
        rows = [json.loads(line) for line in next(folder.rglob("rows.jsonl")).read_text().splitlines()]
        assert rows
        assert all(row["teacher"] for row in rows)
    for stage in folder.glob("stages/*-rl-*"):
        assert (stage / "preflight.json").exists()
        assert (stage / "redteam.json").exists()
        assert list((stage / "rollouts").glob("*.parquet"))
