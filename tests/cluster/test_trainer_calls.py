"""Who is waited for when the learner's ranks are asked, without Ray."""

import time

import pytest

from ranks_work import OPTIM, Case
from ray_runs import workers
from shoestring.cluster.look import Look
from shoestring.cluster.lost import WorkerLost
from shoestring.cluster.members import Members
from shoestring.cluster.parcel import packed
from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.trainer import RemoteLearner
from shoestring.cluster.trainer_actor import Done, LearnerSettings, TrainerActor
from shoestring.cluster.watch import patience_s
from shoestring.cluster.world import RankLost
from shoestring.errors import ShoestringError
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from tiny import tiny_lm

LOOK = Look(4711, "nowhere", "n", "at work", 2**30, 2**31)


class Rank:
    """update, begin: what it does then, by its ray."""

    def __init__(self, update=None, begin=None):
        self.does, self.begins = update, begin

    def meet(self):
        return "host:1"

    def begin(self, *_):
        if self.begins is not None:
            return self.begins()
        return Done(None, 0, None, LOOK)

    def update(self, *_):
        return self.does()


def learner_of(ray, folder, ranks, deadline_s=0.4):
    settings = LearnerSettings(Skeleton.of(tiny_lm()), "cpu", OPTIM, 2, Objectives())
    asked = workers(trainers=ranks, deadline_s=deadline_s)
    members = Members(ray, "trainer", ranks, asked, 1.0, 0.0, (object, ()), lambda _: None, folder)
    return RemoteLearner(tiny_lm(), settings, members, ray)


def done(ray, buffer=None):
    whole, manifest = packed(tiny_lm(seed=1).network.public_tensors())
    return Done("metrics", 1, None, LOOK, manifest, [buffer or ray.put(whole)])


@pytest.fixture
def soon(monkeypatch):
    """The waits of the ranks' own watch and of a call to a stalled actor."""
    monkeypatch.setattr("shoestring.cluster.watch.SILENT_S", 0.1)
    monkeypatch.setattr("shoestring.cluster.members.STACK_S", 0.1)
    monkeypatch.setattr("shoestring.cluster.trainer.HEARSAY_S", 0.2)


def test_the_ranks_word_on_who_is_late_comes_before_the_drivers(fake_ray, after, soon, tmp_path):
    """Rank 2 hangs: rank 1's collective ends at the deadline, and the line is of its watch."""
    told = "rank 1 is in 'save' for 5 s"

    def works(number):
        if number == 1:
            return Rank(lambda: after(float("inf")))
        late = after(0.9 * patience_s(0.4), ray.exceptions.RayTaskError(RankLost(told)))
        return Rank(lambda: late)

    ray = fake_ray(works)
    learner = learner_of(ray, tmp_path, 2)
    for actor in ray.actors:
        actor.silent_s = 60.0
    with pytest.raises(WorkerLost, match=told):
        learner.update([], sft_loss)


def test_where_no_rank_says_who_it_is_the_one_that_does_not_answer(fake_ray, after, soon, tmp_path):
    ray = fake_ray(lambda _: Rank(lambda: after(float("inf"))))
    learner = learner_of(ray, tmp_path, 2)
    ray.actors[0].silent_s, ray.actors[1].dumb = 99.0, True
    with pytest.raises(WorkerLost, match=r"trainer 2 of 2 .*said nothing for"):
        learner.update([], sft_loss)
    assert ray.actors[1].killed
    assert not ray.actors[0].killed


def test_where_all_answer_it_is_the_one_that_was_silent_longest(fake_ray, after, soon, tmp_path):
    ray = fake_ray(lambda _: Rank(lambda: after(float("inf"))))
    learner = learner_of(ray, tmp_path, 2)
    ray.actors[0].silent_s, ray.actors[1].silent_s = 50.0, 99.0
    with pytest.raises(WorkerLost, match=r"trainer 2 of 2 .*said nothing for 99 s"):
        learner.update([], sft_loss)


def test_a_long_update_whose_passes_go_on_is_no_hang(fake_ray, after, soon, tmp_path):
    ray = fake_ray(lambda _: Rank(lambda: after(1.2, done(ray))))
    learner = learner_of(ray, tmp_path, 1)
    ray.actors[0].silent_s = 0.1
    assert learner.update([], sft_loss) == "metrics"
    assert learner.step == 1


def test_every_pass_is_a_sign_of_work():
    lm, case = Case().model(), Case()
    settings = LearnerSettings(Skeleton.of(lm), "cpu", OPTIM, 2, Objectives())
    seen = []

    class Noting(TrainerActor):
        def _goes_on(self):
            super()._goes_on()
            seen.append(time.monotonic())

    actor = Noting(settings, lambda *_: None)
    batches, before = case.batches(0), len(seen)
    learner = Learner(lm, OPTIM, 2, Objectives())
    with actor._heard_with_each_pass(learner):
        learner.update(batches, sft_loss)
    assert len(seen) - before == len(batches)
    learner.update(batches, sft_loss)
    assert len(seen) - before == len(batches)
    assert actor.look().silent_s >= 0


def test_weights_that_went_with_their_rank_are_a_lost_trainer(fake_ray, soon, tmp_path):
    """It was killed between its answer and the moment in which they are fetched."""
    ray = fake_ray(lambda _: Rank(lambda: done(ray, gone)))
    gone = ray.put(ray.exceptions.OwnerDiedError("the owner is gone"))
    learner = learner_of(ray, tmp_path, 1)
    learner.step = 4
    with pytest.raises(
        WorkerLost, match=r"trainer 1 of 1 \(process 4711 .*died while it was training at step 4"
    ):
        learner.update([], sft_loss)


def test_weights_that_came_wrong_are_not_kept(fake_ray, soon, tmp_path):
    whole, _ = packed(tiny_lm(seed=1).network.public_tensors())
    whole[0] ^= 1
    ray = fake_ray(lambda _: Rank(lambda: done(ray, ray.put(whole))))
    with pytest.raises(ShoestringError, match="didn't come as they were sent"):
        learner_of(ray, tmp_path, 1).update([], sft_loss)


def test_a_new_rank_that_dies_before_it_is_up_is_replaced_too(fake_ray, after, soon, tmp_path):
    ray = fake_ray(lambda number: Rank(begin=dies if number == 1 else None))
    dies = lambda: after(0.0, ray.exceptions.RayActorError("killed"))  # noqa: E731
    learner = learner_of(ray, tmp_path, 1)
    learner.revive(WorkerLost("the first one died"))
    assert len(ray.actors) == 3
    assert learner.members.lost == 2


def test_new_ranks_that_die_again_and_again_end_the_run(fake_ray, after, soon, tmp_path):
    ray = fake_ray(lambda number: Rank(begin=dies if number else None))
    dies = lambda: after(0.0, ray.exceptions.RayActorError("killed"))  # noqa: E731
    learner = learner_of(ray, tmp_path, 1)
    with pytest.raises(ShoestringError, match="trainers were lost 4 times in this stage, more than restarts"):
        learner.revive(WorkerLost("the first one died"))
