"""What a run keeps of its own plan, and that it never fails for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from budget_machine import QUIET
from shoestring.jobs import plan_note
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe_file import SHIPPED, load_recipe
from shoestring.jobs.recipe_units import expand
from shoestring.run import open_run


@pytest.fixture
def probed(monkeypatch):
    def on(probe) -> None:
        monkeypatch.setattr(plan_note, "kept_probe", lambda: probe)

    on(QUIET)
    return on


def noted(folder: Path, text: str = "") -> list[str]:
    path = SHIPPED / "laptop.toml"
    if text:
        path = folder / "own.toml"
        path.write_text(text)
    recipe = load_recipe(path, {}, "full")
    run = open_run(folder / "run", resume=False)
    run.begin(recipe.to_toml(), "shoestring run")
    return plan_note.note_plan(run, recipe, expand(recipe, JOBS))


def test_a_plan_is_kept_and_said(tmp_path, probed):
    (line,) = noted(tmp_path)
    assert line.startswith("planned: ")
    assert "between" in line
    assert json.loads((tmp_path / "run/plan.json").read_text())["fits"]
    assert json.loads((tmp_path / "run/machine.json").read_text())["peak"] == QUIET.peak


def test_what_does_not_fit_is_said_before_it_runs(tmp_path, probed):
    probed(replace(QUIET, memory_bytes=3 << 30))
    _, large = noted(tmp_path)
    assert large.startswith("planned: DOES NOT FIT: ")
    assert "GiB" in large
    assert "\n" not in large


def test_a_machine_that_was_not_probed_has_no_plan(tmp_path, probed):
    probed(None)
    assert noted(tmp_path) == []
    assert not (tmp_path / "run/plan.json").exists()


SERVED = """
[recipe]
name = "served"

[[stage]]
name = "check"
job = "eval"
models = { api = "http://127.0.0.1:1/v1#m" }
suites = ["sums"]
n = 8
"""


def test_a_server_is_said_not_to_be_planned_for(tmp_path, probed):
    lines = noted(tmp_path, SERVED)
    assert "not planned: check: what the server at http://127.0.0.1:1/v1#m takes and costs" in lines


@pytest.mark.parametrize("fault", [ValueError("odd\nsecond line"), KeyError()])
def test_a_fault_of_the_plan_stops_no_run(tmp_path, probed, monkeypatch, fault):
    def refuse():
        raise fault

    monkeypatch.setattr(plan_note, "kept_probe", refuse)
    (line,) = noted(tmp_path)
    assert line in ("not planned: odd", "not planned: KeyError")
