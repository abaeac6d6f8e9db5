"""Group-relative policy optimisation with verifiable rewards:
sample problems, roll out, judge, advantage, update, publish weights, log, save."""

import shutil
import time
from contextlib import closing
from enum import Enum, auto
from typing import Any

from shoestring.cluster.lost import WorkerLost
from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs.grpo_before import before_training, disagreement, raise_first
from shoestring.jobs.grpo_lost import begin_again_after, go_on_after
from shoestring.jobs.grpo_meter import meter_rollouts, meter_update, show_progress
from shoestring.jobs.grpo_trainer import (
    Trainer,
    best_folder,
    keep_best,
    open_streams,
    open_trainer,
    refresh_reference,
    rehearse_step,
    restore_trainer,
    roll_back,
    save_if_due,
    take_best,
)
from shoestring.jobs.handles import HERE, Handles
from shoestring.jobs.training import save_adapter, save_model, save_progress, stop_if_asked
from shoestring.ops.memory import give_back
from shoestring.rl.agreement import apart, probe_of
from shoestring.rl.explain import explain
from shoestring.rl.gather import Gathered
from shoestring.rl.loss_settings import formula
from shoestring.rl.measure import (
    group_metrics,
    is_open,
    mean_reward,
    step_metrics,
    time_shares,
    why_all_dead,
)
from shoestring.rl.preference_parts import preference_asker, preference_metrics
from shoestring.rl.redteam import guard
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.store import SCHEMA, rollout_rows
from shoestring.rl.update import Updated, update_policy
from shoestring.run import Stage
from shoestring.tasks.tools import open_tools
from shoestring.text.tool_calls import tools_prompt

MASTERED = 0.95  # mean reward at which a step without a mixed group ends the run instead of failing it


class After(Enum):
    """How a step ended."""

    DONE = auto()
    MASTERED = auto()  # the reward is earned everywhere: nothing is left to learn from it
    ROLLED_BACK = auto()


def check(settings: GRPOSettings) -> object:
    """What can be refused before anything runs: a suite that doesn't exist or has no training problems."""
    if settings.late_suites and settings.late_from > settings.steps:
        raise BadInput(f"late_from = {settings.late_from}: there are only {settings.steps} steps")
    open_tools(settings.tools, settings.max_tool_calls)  # refused where nothing can isolate
    return [stream.item(0) for stream in open_streams(settings).streams]


def main(settings: GRPOSettings, stage: Stage, handles: Handles = HERE) -> dict[str, Any]:
    with handles.judge() as judge:
        trainer = open_trainer(settings, judge, handles)
        stage.say(f"loss {formula(settings.loss)}")
        if trainer.sampler.tools is not None:
            told = tools_prompt(trainer.sampler.tools.cards, trainer.lm.template.tool_form)
            stage.say(f"the system turn says: {' '.join(told.split())}")
        begin(trainer, stage)
        with closing(trainer.ahead):  # whatever ends the run: what is sampled ahead still needs its actors
            while trainer.step < settings.steps:
                try:
                    after = one_step(trainer, trainer.step + 1, stage)
                    if after is After.MASTERED:
                        break
                    if after is After.DONE:
                        save_if_due(trainer, stage)
                    stop_if_asked(stage, trainer.learner, trainer.parts, settings.minibatches)
                except WorkerLost as lost:
                    go_on_after(trainer, stage, lost)
    return finish(trainer, stage)


def begin(trainer: Trainer, stage: Stage) -> None:
    """From the saved state where there is one, else with what comes before a first step."""
    while True:
        try:
            done = restore_trainer(trainer, stage)
            trainer.sampler.generator.load_weights(trainer.learner.weights(), version=done)
            if not done:
                prepare(trainer, stage)
            return
        except WorkerLost as lost:
            begin_again_after(trainer, stage, lost)


def prepare(trainer: Trainer, stage: Stage) -> None:
    """What would make the run a waste is looked for now: a reward that pays for nothing, a broken parser,
    replies that are all cut, memory that doesn't suffice. Raises BadInput or ShoestringError."""
    settings, sampler = trainer.settings, trainer.sampler
    if settings.red_team:
        ask = preference_asker(sampler.preference, settings.preference)
        guard(settings, trainer.lm, sampler.judge, stage, ask)
    before_training(sampler, trainer.learner, stage)
    if settings.rehearsal:
        rehearse_step(trainer, stage)
    give_back(trainer.lm.device)  # what was thrown away had the largest shapes
    save_progress(stage, trainer.learner, trainer.parts)  # what a roll-back before the first save goes to


def finish(trainer: Trainer, stage: Stage) -> dict[str, Any]:
    settings, steps = trainer.settings, trainer.step
    stage.finding(steps, "time", time_shares(stage.metrics()))
    take_best(trainer, stage)
    save_adapter(stage, trainer.learner.adapters, settings.model)
    detail = {"loss": formula(settings.loss)}
    save_model(stage, trainer.lm, "grpo", settings, trainer.origins, steps, detail, trainer.teachers)
    shutil.rmtree(best_folder(stage), ignore_errors=True)
    return {"steps": steps, "problems": trainer.sampler.streams.index}


def one_step(trainer: Trainer, step: int, stage: Stage) -> After:
    began = time.perf_counter()
    settings, sampler, learner = trainer.settings, trainer.sampler, trainer.learner
    gathered, version = trainer.ahead.take(step)
    meter_rollouts(trainer, gathered, stage)
    keep_rollouts(trainer, step, gathered, stage)
    raise_first(stage, step, trainer.monitor.groups(gathered, version))
    if not gathered.live:
        return without_a_live_group(trainer, step, gathered, stage)

    trainer.ahead.begin(step + 1, step - 1, settings.steps)
    updated = update_policy(learner, trainer.reference, gathered.live, settings)
    learner.step = step * settings.minibatches  # few groups make fewer updates, not a slower schedule
    check_update(trainer, step, gathered, updated, stage)
    handed = time.perf_counter()
    trainer.ahead.settle()
    sampler.generator.load_weights(learner.weights(), version=step)
    handed_s = time.perf_counter() - handed
    refresh_reference(trainer, step)
    meter_update(trainer, updated, handed_s, stage)

    measured = group_metrics(gathered.live, gathered.dead) | step_metrics(updated) | gathered.times
    measured |= {"time/weights": handed_s, "curriculum/passed_over": float(sampler.streams.rates.passed_over)}
    measured["staleness"] = float(step - 1 - version)  # versions that the samples' weights were behind
    measured["drift"] = apart(learner, probe_of(updated.batches), settings.temperature)
    measured |= watched(trainer, step, gathered, measured, stage)
    measured["step_time"] = time.perf_counter() - began
    if act(trainer, step, measured, stage) is After.ROLLED_BACK:
        return After.ROLLED_BACK
    stage.log(step, measured)
    show_progress(trainer, step, gathered, measured, stage)
    return After.DONE


def keep_rollouts(trainer: Trainer, step: int, gathered: Gathered, stage: Stage) -> None:
    settings = trainer.settings
    if step in (1, settings.steps) or step % settings.rollouts_every == 0 or not gathered.live:
        rows = rollout_rows(step, gathered.groups, trainer.lm, settings.loss.scale, settings.seed)
        stage.rollouts(step, rows, SCHEMA)
    for name, text in trainer.monitor.notes(step, gathered):
        stage.finding(step, name, text)


def without_a_live_group(trainer: Trainer, step: int, gathered: Gathered, stage: Stage) -> After:
    """Raises ShoestringError that says why, unless all that could be learnt is. A control's step is passed
    over: that there is nothing in it to learn from is what a control may be like."""
    if trainer.settings.reward != "task":
        trainer.learner.step = step * trainer.settings.minibatches
        trainer.sampler.generator.load_weights(trainer.learner.weights(), version=step)
        stage.finding(step, "no live group", "no group of this control differs in its rewards: no update")
        stage.log(step, group_metrics([], gathered.dead) | gathered.times | {"step_time": gathered.seconds})
        return After.DONE
    if step > 1 and mean_reward([g for g in gathered.dead if not is_open(g)]) >= MASTERED:
        stage.say(
            f"step {step}: all {len(gathered.dead)} groups earned the reward alike, nothing is left to "
            f"learn from it: ended after {step - 1} of {trainer.settings.steps} steps"
        )
        return After.MASTERED
    save_progress(stage, trainer.learner, trainer.parts)
    for line in explain(gathered.groups, trainer.sampler.judge).lines():
        stage.finding(step, "zero rewards", line)
    raise ShoestringError(f"step {step}: {why_all_dead(gathered.dead)}")


def check_update(trainer: Trainer, step: int, gathered: Gathered, updated: Updated, stage: Stage) -> None:
    """Faults that an update shows. The state of before it is what is saved, so nothing is lost."""
    settings, faults = trainer.settings, trainer.monitor.updated(gathered, updated)
    if settings.loss.correction == "none":  # else it is known, and weighed
        gap, temperature = updated.stats.mismatch_kl, settings.temperature
        found = disagreement(trainer.learner, updated.batches, temperature, gap, first=step == 1)
        faults += [] if found is None else [found]
    raise_first(stage, step, faults)


def watched(
    trainer: Trainer, step: int, gathered: Gathered, measured: dict[str, float], stage: Stage
) -> dict[str, float]:
    """The run's own held-out problems and the reward model's figures, where it has them."""
    sampler, found = trainer.sampler, dict[str, float]()
    if sampler.preference is not None:
        found |= preference_metrics(gathered.groups, sampler.preference.too_long)
        warning = trainer.monitor.hacking.saw(step, measured | found)
        if warning is not None:
            stage.finding(step, "preference hacking", warning)
    if trainer.held_out is not None and trainer.held_out.due(step, trainer.settings.steps):
        found |= trainer.held_out.measure(trainer.lm, sampler.generator, sampler.judge, step)
        keep_best(trainer, stage, step)
    return found


def act(trainer: Trainer, step: int, measured: dict[str, float], stage: Stage) -> After:
    """What the trip wires ask for. Raises ShoestringError where one stops the run."""
    for tripped in trainer.monitor.tripped(measured):
        why = trainer.monitor.why(tripped, measured["learning_rate"])
        if tripped.action == "roll_back":
            roll_back(trainer, stage, why)
            return After.ROLLED_BACK
        stage.finding(step, tripped.name, why)
        if tripped.action == "stop":
            save_progress(stage, trainer.learner, trainer.parts)
            raise ShoestringError(f"step {step}: {why}; the state is saved")
    return After.DONE
