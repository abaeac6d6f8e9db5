"""A run folder read while it is worked on."""

import json
import os

import pytest

from run_folders import RECIPE, begin, kept_group, train_sft, unit
from shoestring.errors import BadInput
from shoestring.report.live import (
    curves_of,
    find_runs,
    live_units,
    read_bill,
    read_curves,
    read_evals,
    read_stage_lines,
    read_standing,
)
from shoestring.report.live_rollouts import read_samples, read_verdicts
from shoestring.rl.store import SCHEMA


@pytest.fixture
def running(tmp_path):
    """The first stage at its second step of four, in a folder of runs."""
    folder = begin(tmp_path / "runs" / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    for step in (1, 2):
        said = [("<think>hm</think>7<|im_end|>", 1.0), ("8", 0.0), ("9<|im_end|>", None)]
        stage.rollouts(step, kept_group(step, step, "p", said[: step + 1]), SCHEMA)
        stage.use("rollout", 10.0, 100, 1e9)
        stage.log(step, {"reward": step / 10, "odd": 1.0, "entropy": float("nan")})
        stage.progress(step, 4, reward=step / 10)
    return folder.path


def test_how_a_run_stands(running):
    standing = read_standing("r", running)
    assert (standing.name, standing.state, standing.done, standing.total) == ("r", "running", 1, 4)
    assert standing.unit == "stages/01-zero"
    assert (standing.stages_finished, standing.stages) == (0, 3)
    assert standing.shown == {"reward": "0.1"}  # status.json is written once a second at most
    bill = read_bill(running)
    lines = read_stage_lines(running, bill)
    assert [(s.name, s.units, s.finished, s.used.seconds) for s in lines] == [
        ("zero", 1, 0, 20.0),
        ("cold-start", 0, 0, 0.0),
        ("check", 0, 0, 0.0),
    ]


def test_runs_are_found_by_their_folder_and_none_outside(running, tmp_path):
    root = tmp_path / "runs"
    (root / "not-a-run").mkdir()
    os.symlink(tmp_path, root / "link")
    assert find_runs(root) == {"r": running}
    assert find_runs(running) == {".": running}
    assert find_runs(tmp_path / "nowhere") == {}


def test_a_stage_that_is_run_by_itself_is_a_run(tmp_path):
    from shoestring.run import Stage

    with Stage(tmp_path / "runs" / "sft", "sft") as stage:
        train_sft(stage)
    (found,) = find_runs(tmp_path / "runs").values()
    standing = read_standing("sft", found)
    assert (standing.state, standing.stages_finished, standing.stages) == ("finished", 1, 1)
    assert {curve.metric for curve in read_curves(found)} == {"loss", "grad_norm"}


def test_curves_begin_with_those_that_the_report_draws(running):
    curves = list(read_curves(running))
    assert [curve.metric for curve in curves] == ["reward", "entropy", "odd"]
    assert curves[0].values == (0.1, 0.2)
    assert curves[1].values == (None, None)
    ((path, one),) = live_units(running)
    assert list(curves_of(path, one)) == curves


def test_verdicts_and_samples(running):
    (verdicts,) = read_verdicts(running)
    assert verdicts.steps == (1, 2)
    assert verdicts.counts == {"right": [1, 1], "wrong": [1, 1], "timeout": [0, 1]}
    step, rows = read_samples(running, "zero", None, "right")
    assert step == 2
    assert [row.answer for row in rows] == ["7"]


def test_a_file_that_is_written_again_is_read_again(running):
    read_verdicts(running)
    path = running / "stages/01-zero/rollouts/step-000002.parquet"
    path.write_bytes((running / "stages/01-zero/rollouts/step-000001.parquet").read_bytes())
    assert read_verdicts(running)[0].counts == {"right": [1, 1], "wrong": [1, 1]}


@pytest.mark.parametrize(
    ("unit_name", "step", "verdict", "said"),
    [
        ("nope", None, "", "there are some of zero"),
        ("zero", 9, "", "the last is 2"),
        ("zero", 1, "x", "verdict"),
    ],
)
def test_what_isnt_there_is_said(running, unit_name, step, verdict, said):
    with pytest.raises(BadInput, match=said):
        read_samples(running, unit_name, step, verdict)


def test_a_file_that_is_not_parquet_is_said(running):
    (running / "stages/01-zero/rollouts/step-000002.parquet").write_text("no")
    with pytest.raises(BadInput, match="can't be read"):
        read_verdicts(running)


def test_scores_of_a_finished_run(run_folder):
    best = {(row.model, row.suite): row for row in read_evals(run_folder) if row.best}
    assert best["base", "sums:max_digits=1,max_terms=3"].score == 64 / 256
    assert best["zero random", "sums:max_digits=1,max_terms=3"].n == 256
    assert read_standing("x", run_folder).stages_finished == 3
    assert json.dumps(read_standing("x", run_folder).shown) == "{}"
