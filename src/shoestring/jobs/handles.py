"""Where a job's three handles come from: this process, unless it is told of a cluster."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from shoestring.engine.engine import Engine
from shoestring.engine.generator import Generator
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.tasks.judge import Judge
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings


class Handles(Protocol):
    """ahead: by how many steps samples may be made before the weights that are to train on them."""

    ahead: int

    def judge(self, workers: int = 2) -> Judge: ...

    def generator(self, lm: LanguageModel, max_batch: int = 256) -> Generator: ...

    def learner(
        self,
        lm: LanguageModel,
        optim: OptimSettings,
        total_steps: int,
        objectives: Objectives,
        adapters: Adapters | None,
    ) -> Learner: ...


class Places(Protocol):
    """Gives each stage its handles, and ends what was started for them."""

    def of(self, stage: Stage) -> AbstractContextManager[Handles]: ...


class Here:
    """All in this process."""

    ahead = 0

    def judge(self, workers: int = 2) -> Judge:
        return Judge(workers=workers)

    def generator(self, lm: LanguageModel, max_batch: int = 256) -> Engine:
        """Around the model's own network: the learner's weights are the engine's."""
        return Engine(lm, max_batch=max_batch)

    def learner(
        self,
        lm: LanguageModel,
        optim: OptimSettings,
        total_steps: int,
        objectives: Objectives,
        adapters: Adapters | None,
    ) -> Learner:
        return Learner(lm, optim, total_steps, objectives, adapters)

    @contextmanager
    def of(self, stage: Stage) -> Iterator[Handles]:
        yield self


HERE = Here()
