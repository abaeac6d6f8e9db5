"""Running a recipe: order, references, folders, Ctrl-C, kill and resume."""

import errno
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from fake_jobs import ARMS, PLAIN, Calls, go, seen, write
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.jobs import recipe
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe import run
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import expand
from shoestring.run import held, read_lines
from shoestring.settings import read_toml


@pytest.fixture
def calls():
    return Calls()


def test_stages_in_order_and_references_by_name(tmp_path, calls):
    report = go(tmp_path, calls)
    out = (tmp_path / "out").as_posix()
    assert [folder.removeprefix(f"{out}/stages/") for folder, _ in calls.made] == [
        "01-zero",
        "02-more",
        "03-check",
    ]
    assert calls.made[1][1] == f"{out}/stages/01-zero/model"
    assert seen(tmp_path, "03-check")["zero"] == "base+exact/4"  # the recipe's seed
    settings = read_toml(tmp_path / "out/stages/02-more/settings.toml")
    assert settings == {"job": "train", "model": "stage:zero", "steps": 2, "reward": "exact", "seed": 4}
    assert json.loads((tmp_path / "out/status.json").read_text())["state"] == "finished"
    assert report.name == "demo"
    assert (tmp_path / "out/report.md").exists()
    assert (tmp_path / "out/report.html").exists()


def test_the_resolved_recipe_makes_the_same_run(tmp_path, calls):
    go(tmp_path, calls, overrides={"zero.steps": 2, "prices.watts": 15})
    again = load_recipe(tmp_path / "out/recipe.toml", {}, "full")
    assert again.prices.watts == 15
    first = load_recipe(tmp_path / "demo.toml", {"zero.steps": 2}, "full")
    values = [unit.values for unit in expand(again, calls.table)]
    assert values == [unit.values for unit in expand(first, calls.table)]
    assert values[0]["steps"] == 2


def test_arms_and_seeds_have_their_folders(tmp_path, calls):
    go(tmp_path, calls, ARMS)
    assert seen(tmp_path, "03-check/seed-1")["zero"] == "base+exact/1"
    assert seen(tmp_path, "03-check/random/seed-2")["zero"] == "base+random/2"
    assert seen(tmp_path, "03-check/long/seed-2")["zero"] == "base+exact/2"
    assert len(list((tmp_path / "out/stages/01-zero").rglob("result.json"))) == 4


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, calls):
    calls.interrupt_after = 2
    with pytest.raises(Interrupted) as caught:
        go(tmp_path, calls, overrides={"more.steps": 3})
    line = str(caught.value)
    out = tmp_path / "out"
    assert line.endswith(
        f"shoestring run {tmp_path}/demo.toml --set more.steps=3 --output-dir {out} --resume"
    )
    assert "\n" not in line
    assert json.loads((out / "status.json").read_text())["state"] == "interrupted"
    assert calls.made == []
    go(tmp_path, calls, overrides={"more.steps": 3}, resume=True)
    assert [row["step"] for row in read_lines(out / "stages/01-zero/metrics.jsonl")] == [1, 2, 3]
    trained = [row for row in read_lines(out / "usage.jsonl") if row["kind"] == "train"]
    assert len(trained) == 3 + 3
    assert not any(row.get("redone") for row in trained)


def test_resume_skips_what_is_finished(tmp_path, calls):
    calls.trouble["more"] = ShoestringError("out of luck")
    with pytest.raises(ShoestringError, match="out of luck"):
        go(tmp_path, calls)
    assert json.loads((tmp_path / "out/status.json").read_text())["state"] == "failed"
    assert len(calls.made) == 1
    out = io.StringIO()
    go(tmp_path, calls, resume=True, console=Console(file=out, width=200))
    assert [folder.rpartition("/")[2] for folder, _ in calls.made] == ["01-zero", "02-more", "03-check"]
    assert "1/3 zero: finished before, kept" in out.getvalue()
    assert f"talk to it: shoestring chat {tmp_path / 'out'}" in out.getvalue()


def test_resume_with_other_settings_names_the_first_that_differs(tmp_path, calls):
    go(tmp_path, calls)
    with pytest.raises(BadInput, match=r"stage 'more': setting 'steps' was 2 and is now 5: set it back"):
        go(tmp_path, calls, resume=True, overrides={"more.steps": 5})


def test_resume_with_other_stages_is_refused_but_more_may_follow(tmp_path, calls):
    go(tmp_path, calls)
    longer = PLAIN + '[[stage]]\nname = "last"\njob = "train"\nmodel = "stage:more"\n'
    with pytest.raises(BadInput, match="started with stage 'zero' where the recipe now has 'first'"):
        go(tmp_path, calls, PLAIN.replace("zero", "first"), resume=True)
    go(tmp_path, calls, longer, resume=True)
    assert len(calls.made) == 4


def test_a_stage_whose_source_is_gone_is_not_kept(tmp_path, calls):
    go(tmp_path, calls)
    (tmp_path / "out/stages/01-zero/result.json").unlink()
    with pytest.raises(BadInput, match="stage 'more' was made from an earlier 'zero' that is gone"):
        go(tmp_path, calls, resume=True)


def test_a_folder_in_use_is_not_written_over(tmp_path, calls):
    go(tmp_path, calls)
    with pytest.raises(BadInput, match="not empty: add --resume to go on with it, or choose another"):
        go(tmp_path, calls)
    (tmp_path / "else").mkdir()
    (tmp_path / "else/thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="not a run folder"):
        run(write(tmp_path), tmp_path / "else", jobs=calls.table, resume=True)


def test_the_default_folder_is_named_after_the_recipe_and_its_scale(tmp_path, calls, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(write(tmp_path), jobs=calls.table, scale="small")
    assert (tmp_path / "runs/demo-small/report.html").exists()
    assert "small scale" in (tmp_path / "runs/demo-small/report.md").read_text()


def test_a_full_disk_inside_a_job_is_one_line(tmp_path, calls):
    calls.trouble["more"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ShoestringError, match="the disk is full") as caught:
        go(tmp_path, calls)
    assert caught.value.exit_code == 1
    assert len(calls.made) == 1
    go(tmp_path, calls, resume=True)
    assert len(calls.made) == 3


def test_a_bug_keeps_its_traceback(tmp_path, calls):
    calls.trouble["zero"] = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        go(tmp_path, calls)
    assert json.loads((tmp_path / "out/status.json").read_text())["state"] == "failed"


def test_what_another_process_is_at_work_on_is_left_to_it(tmp_path, calls, monkeypatch):
    """Its unit is waited for once nothing else can be done, and taken up if that process ends without it."""
    busy = tmp_path / "out/stages/01-zero/seed-1"
    busy.mkdir(parents=True)
    (tmp_path / "out/recipe.toml").write_text('[[stage]]\nname = "zero"\n')
    out = io.StringIO()
    other = held(busy / ".lock")
    assert other.__enter__()
    monkeypatch.setattr(recipe.time, "sleep", lambda seconds: other.__exit__(None, None, None))
    go(tmp_path, calls, ARMS, resume=True, console=Console(file=out, width=200))
    made = [folder.partition("stages/")[2] for folder, _ in calls.made]
    assert made[0] == "01-zero/seed-2"
    assert made.index("04-apart") < made.index("01-zero/seed-1") < made.index("02-more/seed-1")
    assert (
        len(made)
        == len(set(made))
        == len(expand(load_recipe(write(tmp_path, ARMS), {}, "full"), calls.table))
    )
    assert "zero seed 1: waiting for another process" in out.getvalue()
    assert json.loads((tmp_path / "out/status.json").read_text())["state"] == "finished"


def test_the_recipe_s_device_is_every_stage_s_that_states_none(tmp_path):
    text = """
[recipe]
name = "d"
device = "cuda"
[[stage]]
name = "a"
job = "sft"
model = "base"
suites = ["sums"]
steps = 1
[[stage]]
name = "b"
job = "sft"
model = "base"
suites = ["sums"]
steps = 1
device = "cpu"
"""
    units = expand(load_recipe(write(tmp_path, text), {}, "full"), JOBS)
    assert [unit.resolved["device"] for unit in units] == ["cuda", "cpu"]


KILLED = """
import os, signal, sys
from pathlib import Path
from shoestring.jobs.recipe import run
from shoestring.run import Stage
sys.path.insert(0, sys.argv[1])
from fake_jobs import Calls
log = Stage.log
def dying(stage, step, metrics):
    log(stage, step, metrics)
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Stage.log = dying
run(sys.argv[2], sys.argv[3], jobs=Calls().table)
"""


@pytest.mark.slow
def test_kill_9_and_resume(tmp_path, calls):
    arguments = [str(Path(__file__).parents[1]), str(write(tmp_path)), str(tmp_path / "out")]
    died = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    go(tmp_path, calls, resume=True)
    assert [row["step"] for row in read_lines(tmp_path / "out/stages/01-zero/metrics.jsonl")] == [1, 2, 3]
    lines = [row for row in read_lines(tmp_path / "out/usage.jsonl") if row["stage"] == "zero"]
    trained = [(row["after_step"], row.get("redone", False)) for row in lines if row["kind"] == "train"]
    assert trained == [(0, False), (1, True), (1, False), (2, False)]  # its last state was of step 1


def test_a_budget_stops_in_order_and_can_be_gone_on_with(tmp_path, calls, monkeypatch):
    """Each step of these jobs says that it took a second; the clock, which counts too, stands still."""
    monkeypatch.setattr("shoestring.budget.limit.time", SimpleNamespace(monotonic=lambda: 0.0))
    with pytest.raises(Interrupted) as caught:
        go(tmp_path, calls, budget="4s")
    said = str(caught.value)
    assert said.startswith("the budget of 4s is used up (")
    assert "spent): stopped; what was saved is kept." in said
    assert said.endswith("--resume")
    status = json.loads((tmp_path / "out/status.json").read_text())
    assert status["state"] == "interrupted"
    assert "the budget of 4s" in status["detail"]
    done = len(read_lines(tmp_path / "out/usage.jsonl"))
    with pytest.raises(Interrupted, match="the budget of 4s is used up"):  # what was spent before counts
        go(tmp_path, calls, budget="4s", resume=True)
    assert len([line for line in read_lines(tmp_path / "out/usage.jsonl") if line["kind"] == "train"]) <= done
    go(tmp_path, calls, budget="2h", resume=True)
    assert json.loads((tmp_path / "out/status.json").read_text())["state"] == "finished"
    steps = [row["step"] for row in read_lines(tmp_path / "out/stages/01-zero/metrics.jsonl")]
    assert steps == [1, 2, 3]


def test_a_budget_that_nobody_can_read_is_refused_before_anything_runs(tmp_path, calls):
    with pytest.raises(BadInput, match="--budget 2 parsecs: write a number and a unit"):
        go(tmp_path, calls, budget="2 parsecs")
    assert not calls.made
    assert not (tmp_path / "out").exists()
