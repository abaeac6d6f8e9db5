"""On-policy distillation: sample problems, roll out, the teacher's logprobs of what was said, update, publish
weights, log, save. The same update as RL's, with an advantage for each token."""

import copy
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from shoestring.budget.flops import decode_flops
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.jobs.grpo_before import fly
from shoestring.jobs.grpo_trainer import Trainer, open_streams, open_trainer, restore_trainer
from shoestring.jobs.on_policy_settings import OnPolicySettings
from shoestring.jobs.on_policy_teacher import Teaching, in_words, open_teaching
from shoestring.jobs.origins import require_teacher
from shoestring.jobs.training import save_adapter, save_model, save_progress, stop_if_asked, update_flops
from shoestring.remote.endpoint import ScoringEndpoint, checked_key
from shoestring.remote.turns import NoAnswer, Spent
from shoestring.rl.gather import RolledOut, roll_out
from shoestring.rl.measure import group_metrics, step_metrics
from shoestring.rl.rollout import Group
from shoestring.rl.store import SCHEMA, rollout_rows
from shoestring.rl.tool_metrics import decoded
from shoestring.rl.update import Updated, update_policy
from shoestring.run import Stage
from shoestring.tasks.judge import Judge


def check(settings: OnPolicySettings) -> None:
    """What can be refused before anything runs."""
    if isinstance(settings.teacher, ScoringEndpoint):
        checked_key(settings.teacher)
    else:
        require_teacher(settings.teacher, settings.permission)
    for stream in open_streams(settings.policy()).streams:
        stream.item(0)


def main(settings: OnPolicySettings, stage: Stage) -> dict[str, Any]:
    policy = settings.policy()
    with Judge() as judge:
        trainer = open_trainer(policy, judge)
        teaching = open_teaching(settings, trainer.lm, stage)
        done = restore_trainer(trainer, stage)
        trainer.sampler.generator.load_weights(trainer.learner.weights(), version=done)
        if not done and settings.preflight.prompts:
            look_before(trainer, stage)
        ended = ""
        for step in range(done + 1, settings.steps + 1):
            before = {name: copy.deepcopy(part.state_dict()) for name, part in trainer.parts.items()}
            try:
                one_step(trainer, teaching, settings, step, stage)
            except NoAnswer as error:  # before the step's first update
                go_back(trainer, before)
                if teaching.http is not None:  # what was scored of the step was paid for
                    stage.use("train", paid=teaching.http.take_paid())
                ended = ended_by(error, trainer, step - 1, stage)
                break
            done = step
            if step % settings.save_every == 0 and step < settings.steps:
                save_progress(stage, trainer.learner, trainer.parts)
            stop_if_asked(stage, trainer.learner, trainer.parts, settings.minibatches)
    save_adapter(stage, trainer.learner.adapters, settings.model)
    origins, teachers = [*trainer.origins, teaching.by.origin], {**trainer.teachers, **teaching.by.teachers}
    detail = teaching.by.detail(in_words(settings))
    save_model(stage, trainer.lm, "distill", settings, origins, done, detail, teachers)
    result = {"steps": done, "problems": trainer.sampler.streams.index}
    return result | ({"ended": ended} if ended else {})


def go_back(trainer: Trainer, before: Mapping[str, Any]) -> None:
    """As if the problems of this step had not been taken."""
    for name, part in trainer.parts.items():
        part.load_state_dict(before[name])


def ended_by(error: NoAnswer, trainer: Trainer, done: int, stage: Stage) -> str:
    """Why the training ends with the steps that it has: its budget is spent. Anything else that keeps the
    teacher's word away saves them and is raised, for a resume to go on from."""
    if isinstance(error, Spent) and done:
        ended = f"{error}: the model is that of {done} steps"
        stage.finding(done, "budget", ended)
        return ended
    save_progress(stage, trainer.learner, trainer.parts)
    if isinstance(error, Spent):
        raise ShoestringError(f"{error} before the first step: give it more, or fewer and shorter samples")
    kind = Interrupted if stage.stop_requested else ShoestringError
    raise kind(f"{error}; step {done} of '{stage.name}' is saved: go on with the same command and --resume")


def look_before(trainer: Trainer, stage: Stage) -> None:
    """A few problems as training will have them: how many replies are cut, right, unreadable. Raises BadInput
    where more are cut than the settings let be."""
    sampler = trainer.sampler
    _, seen = fly(sampler, stage)
    for line in seen.lines():
        stage.finding(0, "preflight", line)
    if refusal := seen.refusal(sampler.settings.preflight):
        raise BadInput(refusal)


def one_step(
    trainer: Trainer, teaching: Teaching, settings: OnPolicySettings, step: int, stage: Stage
) -> None:
    began = time.perf_counter()
    sampler, learner = trainer.sampler, trainer.learner
    asked = sampler.streams.take(settings.prompts_per_step, sampler.lm, settings.system, step)
    made = roll_out(sampler, asked, step)
    groups = made.groups if settings.task_weight else [unpaid(group) for group in made.groups]

    updated = update_policy(learner, None, groups, sampler.settings, teaching.annotate, teaching.loss)
    learner.step = step * settings.minibatches  # few groups make fewer updates, not a slower schedule
    sampler.generator.load_weights(learner.weights(), version=step)
    meter(trainer, teaching, made, updated, stage)

    if step in (1, settings.steps) or step % settings.rollouts_every == 0:
        rows = rollout_rows(step, made.groups, trainer.lm, settings.loss.scale, settings.seed)
        stage.rollouts(step, rows, SCHEMA)
    live = [g for g in made.groups if g.live]
    measured = group_metrics(live, [g for g in made.groups if not g.live]) | step_metrics(updated)
    measured |= {"time/generate": made.generate_s, "time/judge": made.judge_s}
    if teaching.http is not None:
        measured["teacher_unknown"] = teaching.http.take_unknown()
    measured["step_time"] = time.perf_counter() - began
    stage.log(step, measured)
    shown = {
        "kl": f"{measured['kl']:.3f}",
        "tokens/s": f"{measured['num_tokens'] / measured['step_time']:.0f}",
    }
    stage.progress(step, settings.steps, **shown)


def unpaid(group: Group) -> Group:
    """Every sample counts, also one whose scorer failed, and none is paid."""
    return dataclasses.replace(group, rollouts=[dataclasses.replace(r, reward=0.0) for r in group.rollouts])


def meter(trainer: Trainer, teaching: Teaching, made: RolledOut, updated: Updated, stage: Stage) -> None:
    config, batches = trainer.lm.config, updated.batches
    flops = sum(decode_flops(config, context, own) for g in made.groups for context, own in decoded(g))
    stage.use("generate", made.generate_s, sum(g.num_tokens for g in made.groups), flops)
    stage.use("judge", made.judge_s)
    flops = update_flops(config, batches, adapters=trainer.learner.adapters)
    flops += updated.further_passes * update_flops(config, batches) // 3
    if teaching.config is not None:
        flops += teaching.passes * update_flops(teaching.config, batches) // 3
    paid = teaching.http.take_paid() if teaching.http is not None else 0.0
    stage.use("train", updated.seconds, sum(b.num_tokens for b in batches), flops, paid=paid)
