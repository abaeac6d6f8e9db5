"""The recipe of distillation: who learns what from whom, and all of it at small scale."""

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
STUDENTS = ("from-outputs", "from-distribution", "on-policy", "both", "rl-alone")


def units() -> dict[str, Unit]:
    return {u.stage: u for u in expand(load_recipe(ROOT / "recipes/distill.toml", {}, "full"), JOBS)}


def test_every_student_begins_with_the_same_base_and_meets_the_teacher_in_one_way():
    own = units()
    begins = {name: own[name].values["model"] for name in STUDENTS}
    assert begins == dict.fromkeys(STUDENTS, "smollm2-135m") | {"both": "stage:from-outputs"}
    taught = {name: set(own[name].needs) for name in STUDENTS}
    assert taught == {
        "from-outputs": {"stage:outputs"},
        "from-distribution": {"stage:outputs", "stage:teacher"},
        "on-policy": {"stage:teacher"},
        "both": {"stage:from-outputs", "stage:teacher"},
        "rl-alone": set(),
    }
    assert own["from-outputs"].resolved["steps"] == own["from-distribution"].resolved["steps"]


def test_the_teacher_is_the_laptop_recipes():
    laptop = {u.stage: u for u in expand(load_recipe(ROOT / "recipes/laptop.toml", {}, "full"), JOBS)}
    own = units()
    assert own["cold-start"].resolved == laptop["cold-start"].resolved
    assert own["teacher"].resolved == laptop["grpo"].resolved


def test_longer_sums_are_in_no_stage_that_trains():
    for unit in units().values():
        if unit.job != "eval":
            assert "sums:min_terms=5,max_terms=6" not in unit.values.get("suites", [])


@pytest.mark.slow
@pytest.mark.base
def test_all_of_it_at_small_scale(tmp_path):
    command = [
        sys.executable,
        "-m",
        "shoestring",
        "run",
        str(ROOT / "recipes/distill.toml"),
        "--scale",
        "small",
    ]
    done = subprocess.run([*command, "--output-dir", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "run/stages/09-eval/result.json").read_text())
    assert {row["model"] for row in result["evals"]} == {"base", "teacher", *STUDENTS}
    both = load(tmp_path / "run/stages/07-both", dtype="float32").lineage
    assert [stage.job for stage in both.stages] == ["base", "sft", "distill"]
    teachers = {origin.teacher for stage in both.stages for origin in stage.origins if origin.teacher}
    assert teachers == {"smollm2-135m > cold-start > teacher"}
    assert [s.job for s in next(iter(both.teachers.values()))] == ["base", "sft", "grpo"]
