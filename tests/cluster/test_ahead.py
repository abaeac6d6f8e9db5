"""Samples made one step ahead, when the run ends in the middle of them."""

import threading
import time

import pytest

from shoestring.engine.engine import Engine
from shoestring.errors import ShoestringError
from shoestring.jobs import grpo
from shoestring.jobs.handles import Here
from shoestring.run import Stage
from shoestring.tasks.judge import Judge
from shoestring.train.learner import Learner
from training_runs import grpo_settings, save_base, toy_suite


def sampling():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


class SlowEngine(Engine):
    def step(self):
        if sampling() and threading.current_thread().name.startswith("ahead"):
            time.sleep(0.02)
        super().step()


class FailingLearner(Learner):
    def update(self, *_):
        assert sampling()
        raise ShoestringError("the update failed")


class Ahead(Here):
    """closed: what was still sampling when the judge was closed."""

    ahead = 1

    def __init__(self):
        self.closed = []

    def judge(self, workers=2):
        closed = self.closed

        class Noting(Judge):
            def close(self):
                closed.append(sampling())
                super().close()

        return Noting(workers=1)

    def generator(self, lm, max_batch=256):
        return SlowEngine(lm, max_batch=max_batch)

    def learner(self, *given):
        return FailingLearner(*given)


def test_nothing_samples_any_more_when_its_actors_are_closed(tmp_path):
    settings = grpo_settings(save_base(tmp_path / "model"), toy_suite(tmp_path))
    settings = settings.model_copy(
        update={"loss": settings.loss.model_copy(update={"correction": "token_tis"}), "rehearsal": False}
    )
    handles = Ahead()
    with (
        Stage(tmp_path / "run", "stage") as stage,
        pytest.raises(ShoestringError, match="the update failed"),
    ):
        grpo.main(settings, stage, handles)
    assert handles.closed[-1] == []
