"""A learner whose process dies at a bad moment: the run goes on and ends with the bits of one that was never
disturbed, or stops where that happened too often."""

import json
from collections import Counter

import pytest

from shoestring.cluster.lost import WorkerLost
from shoestring.errors import ShoestringError
from shoestring.jobs import grpo
from shoestring.jobs.handles import Here
from shoestring.run import Stage
from shoestring.train.learner import Learner
from training_runs import grpo_settings, run, same, save_base, timeless, toy_suite, weights

RESTARTS = 3


class Mortal(Learner):
    """It dies in the nth call of a method, as `dies` says, and answers nothing until it is revived."""

    dies: tuple[tuple[str, int], ...] = ()
    dead, lost = "", 0

    def update(self, *given):
        metrics = super().update(*given)
        self._lives("update")  # the weights here are others already
        return metrics

    def try_out(self, *given):
        self._lives("try_out")
        super().try_out(*given)

    def state_dict(self):
        self._lives("state_dict")
        return super().state_dict()

    def load_state_dict(self, state):
        self._lives("load_state_dict")
        super().load_state_dict(state)

    def _lives(self, method):
        self.calls[method] += 1
        if not self.dead and (method, self.calls[method]) in self.dies:
            self.dead = f"trainer 1 of 1 died in {method}"
        if self.dead:
            raise WorkerLost(self.dead)

    def revive(self, lost):
        self.lost += 1
        if self.lost > RESTARTS:
            raise ShoestringError(f"{lost}; more than restarts = {RESTARTS} allows")
        weights = self.lm.network.named_parameters()
        self.optimizer.clear()
        self.optimizer.load_tensors({f"master.{name}": weight.detach() for name, weight in weights})
        self._at_first_step()
        self.dead = ""


class Elsewhere(Here):
    def __init__(self, dies):
        self.dies = dies

    def learner(self, lm, optim, total_steps, objectives, adapters):
        learner = Mortal(lm, optim, total_steps, objectives, adapters)
        learner.calls, learner.dies = Counter(), self.dies
        return learner


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    gentle = {"steps": 4, "preflight": {"prompts": 2}, "optim": {"learning_rate": 1e-4, "warmup_steps": 1}}
    return grpo_settings(save_base(folder / "model"), toy_suite(folder), **gentle)


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(settings, folder)
    return folder


def trained(settings, folder, *dies):
    with Stage(folder, "stage") as stage:
        stage.finish(grpo.main(settings, stage, Elsewhere(dies)))
    return [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "dies",
    {
        "in a canary's update": [("update", 2)],
        "as the canaries' state is put back": [("load_state_dict", 1)],
        "in the rehearsal": [("try_out", 1)],
        "as the state before the first step is saved": [("state_dict", 2)],
        "as a later one is": [("state_dict", 3)],
        "in a step": [("update", 5)],
        "in a step, and as the saved state is taken": [("update", 5), ("load_state_dict", 2)],
        "in two steps": [("update", 5), ("update", 6)],
    }.items(),
    ids=lambda case: case[0],
)
def test_a_loss_at_any_moment_changes_nothing(settings, alone, tmp_path, dies):
    folder = tmp_path / "run"
    found = [row for row in trained(settings, folder, *dies[1]) if row["name"] == "trainer lost"]
    told = " ".join(row["text"] for row in found)
    assert all(f"died in {method}" in told for method, _ in dies[1])
    assert same(weights(folder), weights(alone))
    assert timeless(folder) == timeless(alone)


@pytest.mark.parametrize("method", ["try_out", "load_state_dict"])
def test_one_lost_too_often_stops_the_run(settings, tmp_path, method):
    always = [(method, n) for n in range(1 if method == "try_out" else 2, 9)]
    with pytest.raises(ShoestringError, match=rf"died in {method}; more than restarts = 3 allows"):
        trained(settings, tmp_path / "run", ("update", 5), *always)


def test_what_nothing_can_start_anew_is_the_loss_itself(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(Mortal, "revive", Learner.revive)
    with pytest.raises(WorkerLost, match="died in update"):
        trained(settings, tmp_path / "run", ("update", 5))
