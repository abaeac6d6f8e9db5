"""Group-relative policy optimisation with verifiable rewards:
sample problems, roll out, judge, advantage, update, publish weights, log, save."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from shoestring.budget.flops import decode_flops
from shoestring.engine.engine import Engine
from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs.training import restore, save_model, save_progress, stop_if_asked, update_flops
from shoestring.lm import LanguageModel, load
from shoestring.origin import Origin
from shoestring.rl.batch import make_batches
from shoestring.rl.curriculum import Curriculum
from shoestring.rl.loss import PolicyLoss, PolicyLossSettings, TokenStats, token_stats
from shoestring.rl.measure import group_metrics, mean_reward, rollout_rows, wasted_tokens, why_all_dead
from shoestring.rl.reference import Reference
from shoestring.rl.reward import RewardKind, make_groups
from shoestring.rl.rollout import Asked, Group, ask, judge_groups, sample
from shoestring.run import Stage
from shoestring.settings import Settings
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import ProblemStream, parse_suite
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.state import Stateful

PATIENCE = 3
MASTERED = 0.95  # mean reward at which a step without a mixed group ends the run instead of failing it


class GRPOSettings(Settings):
    model: str
    suites: list[str] = Field(min_length=1)  # drawn where groups are mixed
    steps: int = Field(ge=1)
    prompts_per_step: int = Field(16, ge=1)
    samples_per_prompt: int = Field(16, ge=2)
    max_completion_tokens: int = Field(64, ge=1)
    temperature: float = Field(1.0, gt=0)
    system: str | None = None  # None: the template's own
    truncated: Literal["wrong", "left_out"] = "wrong"  # what a cut answer counts as
    reward: RewardKind = "task"  # "random" and "format" are controls
    refill_rounds: int = Field(1, ge=0)  # times that dropped groups are replaced by fresh ones in a step
    loss: PolicyLossSettings = PolicyLossSettings()
    optim: OptimSettings = OptimSettings()
    objectives: Objectives = Objectives()
    routing_replay: bool = False  # train with the experts that the sampler took (mixtures of experts)
    micro_batch_tokens: int = Field(4096, ge=1)
    max_batch: int = Field(256, ge=1)
    seed: int = 0
    save_every: int = Field(10, ge=1)
    rollouts_every: int = Field(5, ge=1)
    dtype: str = "auto"
    device: str = "cpu"


@dataclass
class Trainer:
    """The handles and the parts of one run."""

    settings: GRPOSettings
    lm: LanguageModel
    generator: Generator
    judge: Judge
    learner: Learner
    streams: "Streams"
    reference: Reference | None

    @property
    def parts(self) -> dict[str, Stateful]:
        return {"streams": self.streams, "curriculum": self.streams.curriculum}


class Streams:
    """The next problems: the curriculum chooses the suite, the suite's stream the problem."""

    def __init__(self, suites: list[str], seed: int) -> None:
        self.suites = [parse_suite(s) for s in suites]
        self.streams = [ProblemStream(s, seed) for s in self.suites]
        self.curriculum = Curriculum([str(s) for s in self.suites], seed)
        self.index = 0
        self.origins: dict[Origin, None] = {}  # of the problems taken, distinct, in order

    def take(self, count: int, lm: LanguageModel, system: str | None) -> list[Asked]:
        asked = []
        for _ in range(count):
            place = self.curriculum.choose(self.index)
            problem = self.streams[place].item(self.index)
            self.origins[problem.origin] = None
            name = f"{self.index}/{problem.id}"
            asked.append(ask(lm.template, problem, str(self.suites[place]), system, name))
            self.index += 1
        return asked

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index, "origins": [dataclasses.asdict(origin) for origin in self.origins]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.origins = {Origin(**origin): None for origin in state["origins"]}


@dataclass(frozen=True)
class Gathered:
    """One step's groups, and what making them took."""

    live: list[Group]
    dead: list[Group]
    generate_s: float
    judge_s: float

    @property
    def groups(self) -> list[Group]:
        return [*self.live, *self.dead]


def check(settings: GRPOSettings) -> object:
    """What can be refused before anything runs: a suite that doesn't exist or has no training problems."""
    return [stream.item(0) for stream in Streams(settings.suites, settings.seed).streams]


def main(settings: GRPOSettings, stage: Stage) -> dict[str, Any]:
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    if settings.routing_replay and not lm.config.n_routed_experts:
        raise BadInput(f"routing_replay: {settings.model} has no experts whose routing could be replayed")
    with Judge() as judge:
        trainer = Trainer(
            settings,
            lm,
            Engine(lm, max_batch=settings.max_batch),
            judge,
            Learner(lm, settings.optim, settings.steps, settings.objectives),
            Streams(settings.suites, settings.seed),
            Reference(settings.model, lm, settings.temperature) if settings.loss.kl_coefficient else None,
        )
        done = restore(stage, trainer.learner, trainer.parts)
        trainer.generator.load_weights(trainer.learner.weights(), version=done)
        for step in range(done + 1, settings.steps + 1):
            if not one_step(trainer, step, stage):
                break
            if step % settings.save_every == 0 and step < settings.steps:
                save_progress(stage, trainer.learner, trainer.parts)
            stop_if_asked(stage, trainer.learner, trainer.parts)
    steps = trainer.learner.step
    save_model(stage, lm, "grpo", settings, list(trainer.streams.origins), steps)
    return {"steps": steps, "problems": trainer.streams.index}


def one_step(trainer: Trainer, step: int, stage: Stage) -> bool:
    """False, and no step, where the reward is earned everywhere and nothing is left to learn from it."""
    began = time.perf_counter()
    settings = trainer.settings
    gathered = gather(trainer)
    meter_rollouts(trainer, gathered, stage)
    if step in (1, settings.steps) or step % settings.rollouts_every == 0 or not gathered.live:
        stage.rollouts(step, rollout_rows(gathered.groups, trainer.lm))
    if not gathered.live:
        if step > 1 and mean_reward(gathered.dead) >= MASTERED:
            stage.say(
                f"step {step}: all {len(gathered.dead)} groups earned the reward alike, nothing is left to "
                f"learn from it: ended after {step - 1} of {settings.steps} steps"
            )
            return False
        save_progress(stage, trainer.learner, trainer.parts)
        raise ShoestringError(f"step {step}: {why_all_dead(gathered.dead)}")
    batches = make_batches(
        gathered.live, settings.loss, settings.max_completion_tokens, settings.micro_batch_tokens
    )
    if trainer.reference is not None:
        batches = [trainer.reference.annotate(b) for b in batches]
    update = trainer.learner.update(batches, PolicyLoss(settings.loss), settings.temperature)
    trainer.generator.load_weights(trainer.learner.weights(), version=step)
    stats = token_stats(update.logprobs, batches, settings.loss)
    meter_update(trainer, batches, update, stage)
    measured = group_metrics(gathered.live, gathered.dead) | step_metrics(gathered, update, stats)
    measured["step_time"] = time.perf_counter() - began
    stage.log(step, measured)
    stage.progress(
        step,
        settings.steps,
        reward=f"{measured['reward']:.3f}",
        solve_rate=f"{measured['solve_rate']:.3f}",
        live=f"{len(gathered.live)}/{len(gathered.groups)}",
        **{"tokens/s": f"{measured['num_tokens'] / measured['step_time']:.0f}"},
    )
    return True


def gather(trainer: Trainer) -> Gathered:
    """Groups whose rewards differ. Others are dropped and counted, and fresh ones asked for in their
    place; where none is live, in PATIENCE more rounds: one unlucky draw must not end a run."""
    settings = trainer.settings
    live: list[Group] = []
    dead: list[Group] = []
    generate_s = judge_s = 0.0
    rounds = settings.refill_rounds + 1
    for number in range(rounds + PATIENCE):
        missing = settings.prompts_per_step - len(live)
        if missing == 0 or (live and number >= rounds):
            break
        asked = trainer.streams.take(missing, trainer.lm, settings.system)
        params = SamplingParams(
            max_tokens=settings.max_completion_tokens,
            temperature=settings.temperature,
            n=settings.samples_per_prompt,
            seed=settings.seed,
            record_routing=settings.routing_replay,
        )
        began = time.perf_counter()
        completions = sample(trainer.generator, asked, params)
        sampled = time.perf_counter()
        judged = judge_groups(trainer.judge, trainer.lm.template, asked, completions)
        for group in make_groups(judged, settings.reward, settings.truncated, settings.seed):
            (live if group.live else dead).append(group)
            trainer.streams.curriculum.saw(group.suite, group.live)
        generate_s += sampled - began
        judge_s += time.perf_counter() - sampled
    return Gathered(live, dead, generate_s, judge_s)


def step_metrics(gathered: Gathered, update: Metrics, stats: TokenStats) -> dict[str, float]:
    return {
        "loss": update.loss,
        "grad_norm": update.grad_norm,
        "learning_rate": update.learning_rate,
        "skipped_step": float(update.skipped),
        "entropy": stats.entropy,
        "kl": stats.kl,
        "mismatch_kl": stats.mismatch_kl,
        "mismatch_max": stats.mismatch_max,
        "clip_ratio/region_mean": stats.clip_low + stats.clip_high,
        "clip_ratio/low_mean": stats.clip_low,
        "clip_ratio/high_mean": stats.clip_high,
        "log_ratio_overflowed": float(stats.overflowed),
        "time/generate": gathered.generate_s,
        "time/judge": gathered.judge_s,
        "time/update": update.seconds,
    }


def meter_rollouts(trainer: Trainer, gathered: Gathered, stage: Stage) -> None:
    """What generating and judging took, for the bill."""
    config = trainer.lm.config
    flops = sum(
        decode_flops(config, len(g.rollouts[0].sequence.prompt), [len(r.sequence.ids) for r in g.rollouts])
        for g in gathered.groups
    )
    made = sum(g.num_tokens for g in gathered.groups)
    stage.use("generate", gathered.generate_s, made, flops, wasted_tokens(gathered.live, gathered.dead))
    stage.use("judge", gathered.judge_s)


def meter_update(trainer: Trainer, batches: list[MicroBatch], update: Metrics, stage: Stage) -> None:
    tokens = sum(b.num_tokens for b in batches)
    flops = update_flops(trainer.lm.config, batches, mtp=update.mtp_loss is not None)
    stage.use("train", update.seconds, tokens, flops)
