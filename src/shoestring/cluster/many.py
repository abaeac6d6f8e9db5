"""A trainer actor's learner: the only one, or one rank of several."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shoestring.cluster.learner import ParallelLearner
from shoestring.cluster.parallelize import ParallelSettings, blocks_of, recompute
from shoestring.cluster.trainer_actor import LearnerSettings, Place
from shoestring.cluster.world import join, meet_at
from shoestring.lm import LanguageModel
from shoestring.train.learner import Learner


@dataclass(frozen=True)
class OneLearner:
    """Makes the learner of a single rank."""

    recompute: Literal["none", "attention", "layers"]

    def __call__(self, lm: LanguageModel, settings: LearnerSettings, place: Place) -> Learner:
        assert place.size == 1, place
        for block in blocks_of(lm.network).values():
            recompute(block, self.recompute)
        return Learner(lm, settings.optim, settings.total_steps, settings.objectives)


@dataclass(frozen=True)
class ManyLearners:
    """Makes the learner of one rank. folder: for the ranks' stacks, should one be lost."""

    parallel: ParallelSettings
    folder: Path

    def __call__(self, lm: LanguageModel, settings: LearnerSettings, place: Place) -> ParallelLearner:
        """Comes together with the other ranks at `place.meet`. Raises BadInput where model and ranks don't
        fit, ShoestringError where the others don't come."""
        host, _, port = place.meet.rpartition(":")
        deadline = self.parallel.deadline_s
        store = meet_at(place.rank, place.size, host, int(port), deadline, place.door)
        expert, device = self.parallel.expert, settings.device
        world = join(place.rank, place.size, store, expert, device, deadline, self.folder, host)
        given = settings.optim, settings.total_steps, settings.objectives
        return ParallelLearner(lm, world, self.parallel, *given)
