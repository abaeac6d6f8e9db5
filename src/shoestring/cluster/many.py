"""A trainer actor's learner where there are several ranks."""

from dataclasses import dataclass
from pathlib import Path

from shoestring.cluster.learner import ParallelLearner
from shoestring.cluster.parallelize import ParallelSettings
from shoestring.cluster.trainer import LearnerSettings, Place
from shoestring.cluster.world import join, meet_at
from shoestring.lm import LanguageModel


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
        store = meet_at(place.rank, place.size, host, int(port), deadline)
        expert, device = self.parallel.expert, settings.device
        world = join(place.rank, place.size, store, expert, device, deadline, self.folder)
        given = settings.optim, settings.total_steps, settings.objectives
        return ParallelLearner(lm, world, self.parallel, *given)
