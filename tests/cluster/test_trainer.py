"""GRPO with its learner, its generators and its judges in actors: the same numbers, and kills survived."""

import json
import os
import signal
import threading
import time

import pytest

from ray_runs import handles_in
from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs import grpo
from shoestring.run import Stage
from training_runs import grpo_settings, metrics, run, same, save_base, timeless, toy_suite, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return grpo_settings(save_base(folder / "model"), toy_suite(folder))


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(settings, folder)
    return folder


def trained(ray, settings, folder, during=None, **given):
    """The stage run on the cluster; `during` is called with its handles once it runs."""
    with handles_in(ray, folder, **given) as handles:
        if during is not None:
            threading.Thread(target=during, args=(handles,), daemon=True).start()
        result = grpo.main(settings, handles.stage, handles)
        handles.stage.finish(result)
    return folder


def when(folder, step, do):
    """Call `do` as soon as the run has logged that step."""

    def wait(handles):
        path = folder / "metrics.jsonl"
        while not path.exists() or len(path.read_text().splitlines()) < step:
            time.sleep(0.01)
        do(handles)

    return wait


def kill(members, place=0):
    os.kill(members.all[place].last.pid, signal.SIGKILL)


def findings(folder):
    path = folder / "findings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_cluster_makes_the_same_bits(ray, settings, alone, tmp_path):
    folder = trained(ray, settings, tmp_path / "run", generators=1)
    assert same(weights(folder), weights(alone))
    assert timeless(folder) == timeless(alone)


def test_two_generators_make_the_same_samples_and_nearly_the_same_weights(ray, settings, alone, tmp_path):
    folder = trained(ray, settings, tmp_path / "run", generators=2)
    for ours, theirs in zip(metrics(folder), metrics(alone), strict=True):
        assert ours["reward"] == theirs["reward"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)


@pytest.mark.parametrize("kind", ["trainer", "generator", "judge"])
def test_a_kill_in_the_middle_changes_nothing(ray, settings, alone, tmp_path, kind):
    folder = tmp_path / "run"
    killed = when(folder, 3, lambda handles: kill(handles.members[kind]))
    trained(ray, settings, folder, killed, generators=1)
    assert same(weights(folder), weights(alone))
    assert timeless(folder) == timeless(alone)
    if kind == "trainer":
        (found,) = [row for row in findings(folder) if row["name"] == "trainer lost"]
        assert "trainer 1 of 1 (process" in found["text"]
        assert "SIGKILL" in found["text"]
        assert "going on from step 2, where it was in step" in found["text"]


def test_a_trainer_lost_too_often_leaves_a_saved_state(ray, settings, alone, tmp_path):
    folder = tmp_path / "run"
    killed = when(folder, 5, lambda handles: kill(handles.members["trainer"]))
    with pytest.raises(ShoestringError, match=r"trainer 1 of 1 .*SIGKILL.*more than restarts = 0"):
        trained(ray, settings, folder, killed, generators=1, restarts=0)
    with Stage(folder, "stage", resume=True) as stage:  # goes on without a cluster
        stage.finish(grpo.main(settings, stage))
    assert same(weights(folder), weights(alone))


def test_one_step_ahead_is_one_version_stale_and_no_more(ray, settings, tmp_path):
    loss = {"correction": "token_tis"}
    changed = settings.model_copy(update={"loss": settings.loss.model_copy(update=loss)})
    folder = trained(ray, changed, tmp_path / "run", generators=1, ahead=1)
    assert [row["staleness"] for row in metrics(folder)] == [0, 1, 1, 1, 1, 1]


def test_ahead_without_a_correction_is_refused(ray, settings, tmp_path):
    with pytest.raises(BadInput, match="samples of older weights need a correction"):
        trained(ray, settings, tmp_path / "run", ahead=1)


@pytest.mark.parametrize("killed", [False, True])
def test_two_ranks_train_as_one_and_survive_the_loss_of_one(ray, settings, alone, tmp_path, killed):
    folder = tmp_path / "run"
    during = when(folder, 3, lambda handles: kill(handles.members["trainer"], 1)) if killed else None
    trained(ray, settings, folder, during, generators=2, trainers=2)
    for ours, theirs in zip(metrics(folder), metrics(alone), strict=True):
        assert ours["reward"] == theirs["reward"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
    if killed:
        (found,) = [row for row in findings(folder) if row["name"] == "trainer lost"]
        assert "trainer 2 of 2 (process" in found["text"]
        assert "SIGKILL" in found["text"]
