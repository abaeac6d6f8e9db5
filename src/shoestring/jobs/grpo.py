"""Group-relative policy optimisation with verifiable rewards:
sample problems, roll out, judge, advantage, update, publish weights, log, save."""

import time
from dataclasses import dataclass, field
from typing import Any

from shoestring.budget.flops import decode_flops
from shoestring.engine.engine import Engine
from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs.training import (
    rehearse_longest,
    restore,
    save_adapter,
    save_model,
    save_progress,
    stop_if_asked,
    update_flops,
)
from shoestring.lm import LanguageModel, load
from shoestring.rl.gather import Gathered, Sampler, gather
from shoestring.rl.loss_settings import formula
from shoestring.rl.measure import (
    group_metrics,
    is_open,
    mean_reward,
    step_metrics,
    wasted_tokens,
    why_all_dead,
)
from shoestring.rl.preference import PreferenceModel
from shoestring.rl.preference_parts import preference_asker, preference_metrics
from shoestring.rl.redteam import guard
from shoestring.rl.reference import Reference
from shoestring.rl.rollout import ask
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.store import SCHEMA, rollout_rows
from shoestring.rl.streams import Streams
from shoestring.rl.tool_metrics import decoded
from shoestring.rl.update import Updated, update_policy
from shoestring.rl.watch import HackWatch
from shoestring.run import Stage
from shoestring.tasks.judge import Judge
from shoestring.tasks.tools import open_tools
from shoestring.text.tool_calls import tools_prompt
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters
from shoestring.train.state import Stateful

MASTERED = 0.95  # mean reward at which a step without a mixed group ends the run instead of failing it


@dataclass
class Trainer:
    """The handles and the parts of one run."""

    settings: GRPOSettings
    lm: LanguageModel
    sampler: Sampler
    learner: Learner
    reference: Reference | None
    watch: HackWatch = field(default_factory=HackWatch)

    @property
    def parts(self) -> dict[str, Stateful]:
        streams = self.sampler.streams
        parts: dict[str, Stateful] = {"streams": streams, "curriculum": streams.curriculum}
        parts["watch"] = self.watch
        if self.reference is not None and self.settings.reference_refresh_steps:
            parts["reference"] = self.reference
        return parts


def check(settings: GRPOSettings) -> object:
    """What can be refused before anything runs: a suite that doesn't exist or has no training problems."""
    if settings.late_suites and settings.late_from > settings.steps:
        raise BadInput(f"late_from = {settings.late_from}: there are only {settings.steps} steps")
    open_tools(settings.tools, settings.max_tool_calls)  # refused where nothing can isolate
    return [stream.item(0) for stream in open_streams(settings).streams]


def open_streams(settings: GRPOSettings) -> Streams:
    return Streams(settings.suites, settings.seed, settings.late_suites, settings.late_from)


def open_preference(settings: GRPOSettings) -> PreferenceModel | None:
    wanted = settings.preference
    return None if wanted is None else PreferenceModel.load(wanted.model, settings.device, wanted.dtype)


def main(settings: GRPOSettings, stage: Stage) -> dict[str, Any]:
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    if settings.routing_replay and not lm.config.n_routed_experts:
        raise BadInput(f"routing_replay: {settings.model} has no experts whose routing could be replayed")
    adapters = Adapters(lm.network, settings.lora, settings.seed) if settings.lora else None
    with Judge() as judge:
        trainer = Trainer(
            settings,
            lm,
            Sampler(
                settings,
                lm,
                Engine(lm, max_batch=settings.max_batch),
                judge,
                open_streams(settings),
                open_preference(settings),
                open_tools(settings.tools, settings.max_tool_calls),
            ),
            Learner(lm, settings.optim, settings.steps * settings.minibatches, settings.objectives, adapters),
            Reference(settings.model, lm, settings.temperature, adapters)
            if settings.loss.kl_coefficient
            else None,
        )
        stage.say(f"loss {formula(settings.loss)}")
        if trainer.sampler.tools is not None:
            told = tools_prompt(trainer.sampler.tools.cards, lm.template.tool_form)
            stage.say(f"the system turn says: {' '.join(told.split())}")
        done = restore(stage, trainer.learner, trainer.parts, settings.minibatches)
        if settings.red_team and not done:
            guard(
                settings, lm, judge, stage, preference_asker(trainer.sampler.preference, settings.preference)
            )
        if settings.rehearsal and not done:
            rehearse_step(trainer, stage)
        trainer.sampler.generator.load_weights(trainer.learner.weights(), version=done)
        for step in range(done + 1, settings.steps + 1):
            if not one_step(trainer, step, stage):
                break
            if step % settings.save_every == 0 and step < settings.steps:
                save_progress(stage, trainer.learner, trainer.parts)
            stop_if_asked(stage, trainer.learner, trainer.parts, settings.minibatches)
    steps = trainer.learner.step // settings.minibatches
    detail = {"loss": formula(settings.loss)}
    save_adapter(stage, adapters, settings.model)
    save_model(stage, lm, "grpo", settings, list(trainer.sampler.streams.origins), steps, detail)
    return {"steps": steps, "problems": trainer.sampler.streams.index}


def rehearse_step(trainer: Trainer, stage: Stage) -> None:
    """With replies as long as they may get, behind the longest prompt of a step's worth of every suite."""
    settings, streams = trainer.settings, trainer.sampler.streams
    problems = [s.item(i) for s in streams.streams for i in range(settings.prompts_per_step)]
    prompts = [
        ask(trainer.lm.template, p, "", settings.system, p.id, trainer.sampler.tools).prompt for p in problems
    ]
    longest = max(len(prompt) for prompt in prompts)
    rehearse_longest(
        stage, trainer.learner, settings.max_completion_tokens, longest, settings.micro_batch_tokens
    )


def one_step(trainer: Trainer, step: int, stage: Stage) -> bool:
    """False, and no step, where the reward is earned everywhere and nothing is left to learn from it."""
    began = time.perf_counter()
    settings = trainer.settings
    gathered = gather(trainer.sampler, step)
    meter_rollouts(trainer, gathered, stage)
    if step in (1, settings.steps) or step % settings.rollouts_every == 0 or not gathered.live:
        rows = rollout_rows(step, gathered.groups, trainer.lm, settings.loss.scale, settings.seed)
        stage.rollouts(step, rows, SCHEMA)
    if not gathered.live:
        if step > 1 and mean_reward([g for g in gathered.dead if not is_open(g)]) >= MASTERED:
            stage.say(
                f"step {step}: all {len(gathered.dead)} groups earned the reward alike, nothing is left to "
                f"learn from it: ended after {step - 1} of {settings.steps} steps"
            )
            return False
        save_progress(stage, trainer.learner, trainer.parts)
        raise ShoestringError(f"step {step}: {why_all_dead(gathered.dead)}")
    updated = update_policy(trainer.learner, trainer.reference, gathered.live, settings)
    trainer.learner.step = step * settings.minibatches  # few groups make fewer updates, not a slower schedule
    handed = time.perf_counter()
    trainer.sampler.generator.load_weights(trainer.learner.weights(), version=step)
    handed_s = time.perf_counter() - handed
    refresh_reference(trainer, step)
    meter_update(trainer, updated, stage)
    measured = group_metrics(gathered.live, gathered.dead) | step_metrics(updated) | gathered.times
    measured["time/weights"] = handed_s
    if trainer.sampler.preference is not None:
        measured |= preference_metrics(gathered.groups, trainer.sampler.preference.too_long)
        warning = trainer.watch.saw(step, measured)
        if warning is not None:
            stage.say(warning)
    measured["step_time"] = time.perf_counter() - began
    stage.log(step, measured)
    stage.progress(
        step,
        settings.steps,
        reward=f"{measured['reward']:.3f}",
        solve_rate=f"{measured['solve_rate']:.3f}" if "solve_rate" in measured else "-",
        live=f"{len(gathered.live)}/{len(gathered.groups)}",
        **{"tokens/s": f"{measured['num_tokens'] / measured['step_time']:.0f}"},
    )
    return True


def refresh_reference(trainer: Trainer, step: int) -> None:
    every = trainer.settings.reference_refresh_steps
    if trainer.reference is not None and every and step % every == 0:
        trainer.reference.refresh(trainer.lm.network)


def meter_rollouts(trainer: Trainer, gathered: Gathered, stage: Stage) -> None:
    """What generating and judging took, for the bill."""
    config = trainer.lm.config
    flops = sum(decode_flops(config, context, made) for g in gathered.groups for context, made in decoded(g))
    made = sum(g.num_tokens for g in gathered.groups)
    stage.use("generate", gathered.generate_s, made, flops, wasted_tokens(gathered.live, gathered.dead))
    stage.use("judge", gathered.judge_s)


def meter_update(trainer: Trainer, updated: Updated, stage: Stage) -> None:
    """A forward pass, for the reference or for p_old, is a third of an update."""
    config, batches = trainer.lm.config, updated.batches
    trained = updated.metrics[0].mtp_loss is not None, trainer.learner.adapters
    flops = update_flops(config, batches, *trained)
    flops += updated.further_passes * update_flops(config, batches) // 3
    stage.use("train", updated.seconds, sum(b.num_tokens for b in batches), flops)
