"""What a step's passes add up to, of one rank and then of all."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from shoestring.cluster.turns import Turn
from shoestring.cluster.world import World
from shoestring.models.transformer import Output
from shoestring.train.objectives import LoadCount
from shoestring.train.passes import Passed


@dataclass
class Sums:
    """flat: the logprobs of all the step's targets, zero where they are another rank's."""

    sizes: list[int]
    loss: float = 0.0
    mtp: float = 0.0
    count: LoadCount = field(default_factory=LoadCount)
    oom_splits: int = 0
    flat: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.flat = torch.zeros(sum(self.sizes))

    @property
    def logprobs(self) -> list[Tensor]:
        return list(self.flat.split(self.sizes))

    def add(self, turn: Turn, passed: Passed) -> None:
        if not turn.idle:
            self.loss += passed.main.item()
            self.mtp += passed.mtp
            self.flat[turn.first : turn.first + turn.batch.num_targets] = passed.logprobs.cpu()

    def count_loads(self, turn: Turn, passed: Passed) -> None:
        """An idle turn's loads are counted as none: every rank then has the same places to sum."""
        self.count.add([_without_loads(o) for o in passed.outputs] if turn.idle else passed.outputs)

    def over(self, world: World) -> None:
        """Every target's logprob is one rank's, and zero in the others: their sum is exact."""
        both = torch.tensor([self.loss, self.mtp], dtype=torch.float64, device=world.device)
        self.loss, self.mtp = world.sum(both).tolist()
        self.flat = world.sum(self.flat.to(world.device)).cpu()
        if self.count.loads is not None:
            world.sum(self.count.loads)


def _without_loads(output: Output) -> Output:
    return output._replace(loads=None if output.loads is None else torch.zeros_like(output.loads))
