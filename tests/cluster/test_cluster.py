"""What a stage gets of a cluster, as far as that is decided before anything is started."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from ranks_work import OPTIM, Case
from ray_runs import workers
from shoestring.cluster.cluster import Cluster, ClusterHandles
from shoestring.cluster.many import OneLearner
from shoestring.cluster.parallelize import blocks_of
from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.trainer_actor import LearnerSettings, Place
from shoestring.cluster.workers import Workers
from shoestring.errors import BadInput
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from tiny import tiny_lm


def test_experts_that_trainers_can_not_share_are_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"--workers: expert=2: 1 trainer can't .*add --workers trainers=2"):
        build(Workers, {"expert": 2}, "--workers")
    assert build(Workers, {"expert": 2, "trainers": 4}, "--workers").expert == 2


def test_a_model_without_experts_is_refused_before_an_actor_is_started(tmp_path: Path) -> None:
    with Stage(tmp_path, "stage") as stage, ExitStack() as stack:
        handles = ClusterHandles(None, workers(expert=2, trainers=2), stage, stack)
        with pytest.raises(BadInput, match="the model has no experts to share out"):
            handles.learner(tiny_lm(), OPTIM, 2, Objectives(), None)


def test_on_one_machine_weights_have_a_folder_of_the_stages_that_goes_with_it(tmp_path: Path) -> None:
    left = tmp_path / "handed-over" / "weights-of-a-run-that-was-killed"
    left.mkdir(parents=True)
    with Stage(tmp_path, "stage") as stage:
        with Cluster(None, workers(), one_machine=True).of(stage) as handles:
            assert handles.workers.folder == tmp_path / "handed-over"
            assert not left.exists()
            left.mkdir(parents=True)
        assert not left.parent.exists()
        with Cluster(None, workers(folder=tmp_path / "own"), one_machine=True).of(stage) as handles:
            assert handles.workers.folder == tmp_path / "own"
        with Cluster(None, workers()).of(stage) as handles:
            assert handles.workers.folder is None


@pytest.mark.parametrize("what", ["attention", "layers"])
def test_a_single_trainer_makes_again_what_it_was_told_to(what: str, tmp_path: Path) -> None:
    made, case = [], Case()
    with Stage(tmp_path, "stage") as stage, ExitStack() as stack:
        for told in ("none", what):
            makes = ClusterHandles(None, workers(recompute=told), stage, stack)._learner_of_a_rank()
            assert isinstance(makes, OneLearner)
            lm = case.model()
            settings = LearnerSettings(Skeleton.of(lm), "cpu", OPTIM, 2, Objectives())
            learner = makes(lm, settings, Place())
            loss = learner.update(case.batches(0), sft_loss).loss
            again = [
                "forward" in vars(block) or "forward" in vars(block.self_attn)
                for block in blocks_of(lm.network).values()
            ]
            made.append((loss, set(again)))
    assert made[0] == (pytest.approx(made[1][0], abs=1e-6), {False})
    assert made[1][1] == {True}
