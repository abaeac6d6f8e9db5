"""A run's handles on a cluster: what a job gets in the place of its own engine, judge and learner."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from shoestring.cluster.generator_actor import GeneratorActor, Makes, OwnEngine
from shoestring.cluster.generators import Generators
from shoestring.cluster.handover import Carrier
from shoestring.cluster.judges import Home, JudgeActor, Judges
from shoestring.cluster.many import ManyLearners, OneLearner
from shoestring.cluster.members import Members
from shoestring.cluster.parallelize import ParallelSettings, check_fits
from shoestring.cluster.ray_start import LOCAL, ray_at
from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.trainer import RemoteLearner
from shoestring.cluster.trainer_actor import LearnerMakes, LearnerSettings, TrainerActor
from shoestring.cluster.vllm_engine import VLLM
from shoestring.cluster.vllm_server import VLLMServer
from shoestring.cluster.workers import Workers
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.tasks.judge import Judge
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings


class ClusterHandles:
    """Of one stage: what is started for it ends with it."""

    def __init__(self, ray: Any, workers: Workers, stage: Stage, open_until: ExitStack) -> None:
        self.ray, self.workers, self.stage, self.ahead = ray, workers, stage, workers.ahead
        self.members: dict[str, Members] = {}  # by kind: those that run now
        self._open = open_until
        self._generators: Generators | None = None
        self._device = "cuda" if workers.gpus else "cpu"

    def judge(self, workers: int = 2) -> Judge:
        made = (JudgeActor, (workers, 5.0, Home.here()))
        members = self._members("judge", self.workers.judges, 0.0, made)
        return self._closing(Judges(members, workers))

    def generator(self, lm: LanguageModel, max_batch: int = 256) -> Generators:
        """A stage has one at a time: an earlier one is ended, with its actors."""
        if self._generators is not None:
            self._generators.close()
        makes = self._engine(Skeleton.of(lm), max_batch)
        members = self._members(
            "generator", self.workers.generators, self.workers.gpus, (GeneratorActor, (makes,))
        )
        carrier = Carrier(self.ray, self.workers)
        weights = lm.network.public_tensors()
        self._generators = Generators.start(members, lm.config, max_batch, carrier, weights)
        return self._closing(self._generators)

    def learner(
        self,
        lm: LanguageModel,
        optim: OptimSettings,
        total_steps: int,
        objectives: Objectives,
        adapters: Adapters | None,
    ) -> Learner:
        """Adapters are trained in this process: they are few numbers, and their network is here anyway.
        Raises BadInput, before anything is started, where model and trainers don't fit."""
        if adapters is not None:
            self.stage.say("lora: its matrices are trained in this process, not by the cluster's trainers")
            return Learner(lm, optim, total_steps, objectives, adapters)
        if self.workers.trainers > 1:
            check_fits(lm.config, self.workers.trainers, self._parallel())
        settings = LearnerSettings(Skeleton.of(lm), self._device, optim, total_steps, objectives)
        made = (TrainerActor, (settings, self._learner_of_a_rank()))
        members = self._members("trainer", self.workers.trainers, self.workers.gpus, made)
        return self._closing(RemoteLearner(lm, settings, members, self.ray))

    def _learner_of_a_rank(self) -> LearnerMakes:
        if self.workers.trainers == 1:
            return OneLearner(self.workers.recompute)
        return ManyLearners(self._parallel(), self.stage.folder.absolute())

    def _parallel(self) -> ParallelSettings:
        own = self.workers
        return ParallelSettings(expert=own.expert, recompute=own.recompute, deadline_s=own.deadline_s)

    def _engine(self, skeleton: Skeleton, max_batch: int) -> Makes:
        if self.workers.engine == "vllm":
            return VLLM(skeleton, max_batch, self.workers.cache_gib)
        if self.workers.engine == "vllm-server":
            own = self.workers.cache_gib, self.workers.vllm_python, self.workers.deadline_s
            return VLLMServer(skeleton, max_batch, *own)
        return OwnEngine(skeleton, self._device, max_batch, self.workers.cache_gib)

    def _members(self, kind: str, count: int, gpus: float, make: tuple[type, tuple[Any, ...]]) -> Members:
        own = self.stage.say, self.stage.folder
        made = Members(self.ray, kind, count, self.workers, self.workers.cpus, gpus, make, *own)
        self.members[kind] = made
        return made

    def _closing(self, made: Any) -> Any:
        self._open.callback(made.close)
        return made


class Cluster:
    """A connection, for as many stages as there are. one_machine: all its processes see a stage's folder."""

    def __init__(self, ray: Any, workers: Workers, one_machine: bool = False) -> None:
        self.ray, self.workers, self.one_machine = ray, workers, one_machine

    @contextmanager
    def of(self, stage: Stage) -> Iterator[ClusterHandles]:
        with ExitStack() as stack:
            workers = self.workers
            if self.one_machine and workers.folder is None:
                folder = stage.folder / "handed-over"  # weights for which the object store is too small
                shutil.rmtree(folder, ignore_errors=True)  # a run that was killed left it
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                workers = workers.model_copy(update={"folder": folder})
            yield ClusterHandles(self.ray, workers, stage, stack)


@contextmanager
def open_cluster(address: str, workers: Workers, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Raises BadInput where Ray is missing or nobody answers at `address`."""
    with ray_at(address, workers) as ray:
        alive = [node for node in ray.nodes() if node["Alive"]]
        has = ray.cluster_resources()
        say(
            f"cluster {address}: Ray {ray.__version__}, {len(alive)} host{'s' if len(alive) > 1 else ''}, "
            f"{has.get('CPU', 0):g} CPU, {has.get('GPU', 0):g} GPU; {workers.generators} generators "
            f"({workers.engine}), {workers.trainers} trainers, {workers.judges} judges"
        )
        yield Cluster(ray, workers, one_machine=address == LOCAL)
