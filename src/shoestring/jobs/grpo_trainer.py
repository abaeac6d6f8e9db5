"""What a GRPO run is made of: its handles, and the parts that a resume needs."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs.grpo_ahead import Ahead, check_ahead
from shoestring.jobs.handles import HERE, Handles
from shoestring.jobs.origins import require_problems, taught_by_scores, teachers_of_problems
from shoestring.jobs.training import rehearse_longest, restore, save_progress
from shoestring.lm import LanguageModel, load
from shoestring.origin import Origin
from shoestring.origin import Stage as LineageStage
from shoestring.rl.gather import Sampler
from shoestring.rl.held_out import HeldOut
from shoestring.rl.monitor import Monitor
from shoestring.rl.preference import PreferenceModel
from shoestring.rl.reference import Reference
from shoestring.rl.rollout import ask
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.streams import Streams
from shoestring.run import Stage, replace_folder
from shoestring.tasks.judge import Judge
from shoestring.tasks.tools import Toolbox, open_tools
from shoestring.text.zero_template import zero_template
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters
from shoestring.train.state import Stateful, load_state

ROLL_BACKS = 1  # that a run may take; the next one stops it


@dataclass
class Trainer:
    """The handles and the parts of one run."""

    settings: GRPOSettings
    lm: LanguageModel
    sampler: Sampler
    learner: Learner
    reference: Reference | None
    monitor: Monitor
    held_out: HeldOut | None
    ahead_by: int = 0  # steps that sampling may be ahead of training
    scored_by: Origin | None = None  # the reward model, as the policy's lineage has it
    teachers: Mapping[str, tuple[LineageStage, ...]] = field(default_factory=dict)  # its, and of problems

    def __post_init__(self) -> None:
        self.ahead = Ahead(self.sampler, self.ahead_by)

    @property
    def parts(self) -> dict[str, Stateful]:
        streams = self.sampler.streams
        parts: dict[str, Stateful] = {"streams": streams, "curriculum": streams.curriculum}
        parts["monitor"] = self.monitor
        if self.held_out is not None:
            parts["held_out"] = self.held_out
        if self.reference is not None and self.settings.reference_refresh_steps:
            parts["reference"] = self.reference
        return self.ahead.saved(parts)

    @property
    def origins(self) -> list[Origin]:
        """Of the problems taken so far, and the reward model's."""
        return [*self.sampler.streams.origins, *([self.scored_by] if self.scored_by else [])]

    @property
    def step(self) -> int:
        """Steps done: samplings, each of so many updates."""
        return self.learner.step // self.settings.minibatches


def open_streams(settings: GRPOSettings) -> Streams:
    reserve = bool(settings.held_out.every)
    streams = Streams(settings.suites, settings.seed, settings.late_suites, settings.late_from, reserve)
    require_problems(streams.suites)
    return streams


def open_preference(settings: GRPOSettings) -> PreferenceModel | None:
    wanted = settings.preference
    return None if wanted is None else PreferenceModel.load(wanted.model, settings.device, wanted.dtype)


def open_held_out(settings: GRPOSettings, streams: Streams, tools: Toolbox | None) -> HeldOut | None:
    wanted, suites = settings.held_out, [s for s in streams.suites if not s.is_open]
    if not wanted.every:
        return None
    return HeldOut(wanted, suites, settings.seed, settings.max_completion_tokens, settings.system, tools)


def open_trainer(settings: GRPOSettings, judge: Judge, handles: Handles = HERE) -> Trainer:
    """Raises BadInput where the settings don't fit the model, or the handles."""
    check_ahead(settings, handles.ahead)
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    if settings.routing_replay and not lm.config.n_routed_experts:
        raise BadInput(f"routing_replay: {settings.model} has no experts whose routing could be replayed")
    if settings.template == "r1-zero":
        lm.template = zero_template(lm.tokenizer, lm.template.stop_ids)
    adapters = Adapters(lm.network, settings.lora, settings.seed) if settings.lora else None
    updates = settings.steps * settings.minibatches
    streams, tools = open_streams(settings), open_tools(settings.tools, settings.max_tool_calls)
    preference = open_preference(settings)
    scored_by = taught_by_scores(settings.preference.model) if settings.preference else None
    teachers = teachers_of_problems(streams.suites) | dict(scored_by.teachers if scored_by else {})
    reference = None
    if settings.loss.kl_coefficient:
        reference = Reference(settings.model, lm, settings.temperature, adapters)
    return Trainer(
        settings,
        lm,
        Sampler(
            settings,
            lm,
            handles.generator(lm, settings.max_batch),
            judge,
            streams,
            preference,
            tools,
        ),
        handles.learner(lm, settings.optim, updates, settings.objectives, adapters),
        reference,
        Monitor(settings, lm, judge),
        open_held_out(settings, streams, tools),
        handles.ahead,
        scored_by.origin if scored_by else None,
        teachers,
    )


def restore_trainer(trainer: Trainer, stage: Stage) -> int:
    """Go on from the saved state where there is one. Returns the steps done."""
    done = restore(stage, trainer.learner, trainer.parts, trainer.settings.minibatches)
    trainer.learner.rate_scale = trainer.monitor.rate_scale
    return done


def save_if_due(trainer: Trainer, stage: Stage) -> None:
    settings, step = trainer.settings, trainer.step
    if step < settings.steps and step % settings.save_every == 0:
        save_progress(stage, trainer.learner, trainer.parts)


def rehearse_step(trainer: Trainer, stage: Stage) -> None:
    """With replies as long as they may get, behind the longest prompt of a step's worth of every suite."""
    settings, streams = trainer.settings, trainer.sampler.streams
    problems = [s.item(i) for s in streams.streams for i in range(settings.prompts_per_step)]
    tools, template = trainer.sampler.tools, trainer.lm.template
    prompts = [ask(template, p, "", settings.system, p.id, tools).prompt for p in problems]
    longest = max(len(prompt) for prompt in prompts)
    rehearse_longest(
        stage, trainer.learner, settings.max_completion_tokens, longest, settings.micro_batch_tokens
    )


def refresh_reference(trainer: Trainer, step: int) -> None:
    every = trainer.settings.reference_refresh_steps
    if trainer.reference is not None and every and step % every == 0:
        trainer.reference.refresh(trainer.lm.network)


def roll_back(trainer: Trainer, stage: Stage, why: str) -> None:
    """The learner goes back to the last saved state, at half the learning rate; the data goes on, so that the
    same batch isn't met again. Raises ShoestringError where that was done before."""
    learner, monitor, at = trainer.learner, trainer.monitor, trainer.step
    if monitor.rolled_back == ROLL_BACKS:
        raise ShoestringError(
            f"step {at}: {why}; the run was rolled back once already, so it stops: the state of its last "
            f"save is in {stage.state_dir}"
        )
    trainer.ahead.drop()
    learner.load_state_dict(load_state(stage.state_dir, {}))
    monitor.rolled_back += 1
    learner.rate_scale = monitor.rate_scale
    stage.truncate_metrics(trainer.step)
    trainer.sampler.generator.load_weights(learner.weights(), version=trainer.step)
    stage.finding(
        trainer.step,
        "rolled back",
        f"step {at}: {why}; back to step {trainer.step} at half the learning rate",
    )
    save_progress(stage, learner, trainer.parts)


def keep_best(trainer: Trainer, stage: Stage, step: int) -> None:
    """The model of the best held-out score so far, beside the state."""
    held_out = trainer.held_out
    if held_out is None or held_out.settings.keep != "best" or held_out.best_step != step:
        return
    temporary = stage.folder / "best.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    trainer.lm.save(temporary)
    replace_folder(temporary, best_folder(stage))


def take_best(trainer: Trainer, stage: Stage) -> None:
    """At the run's end: the best model is the stage's."""
    held_out = trainer.held_out
    if held_out is None or held_out.settings.keep != "best" or not held_out.best_step:
        return
    dtype, device = str(trainer.lm.dtype).removeprefix("torch."), str(trainer.lm.device)
    best = load(str(best_folder(stage)), dtype=dtype, device=device)
    trainer.sampler.generator.load_weights(best.network.public_tensors(), version=held_out.best_step)
    stage.finding(
        trainer.step,
        "best kept",
        f"the model of step {held_out.best_step} is kept: {held_out.best:.0%} of the run's own held-out "
        f"problems, the best of all measured",
    )


def best_folder(stage: Stage) -> Path:
    return stage.folder / "best"
