"""On-policy distillation: sample problems, roll out, the teacher's logprobs of what was said, update, publish
weights, log, save. The same update as RL's, with an advantage for each token."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from shoestring.budget.flops import decode_flops
from shoestring.distill.divergence import DivergenceSettings
from shoestring.distill.live import LiveLoss, LiveTeacher
from shoestring.distill.on_policy import Annotate, WithTask, logprobs_of
from shoestring.distill.vocabulary import compare, refuse_different
from shoestring.jobs.grpo_trainer import Trainer, open_streams, open_trainer, restore_trainer
from shoestring.jobs.origins import TaughtBy, taught_by_model
from shoestring.jobs.training import save_adapter, save_model, save_progress, stop_if_asked, update_flops
from shoestring.lm import LanguageModel, load
from shoestring.rl.gather import RolledOut, roll_out
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.measure import group_metrics, step_metrics
from shoestring.rl.rollout import Group
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.store import SCHEMA, rollout_rows
from shoestring.rl.tool_metrics import decoded
from shoestring.rl.update import Updated, update_policy
from shoestring.run import Stage
from shoestring.settings import Settings, build
from shoestring.tasks.judge import Judge
from shoestring.train.lora import LoRASettings
from shoestring.train.loss import HeadLoss
from shoestring.train.optim import OptimSettings


class OnPolicySettings(Settings):
    """Settings of the same name are grpo's, and mean what they mean there."""

    model: str
    teacher: str
    suites: list[str] = Field(min_length=1)  # whose problems the student answers
    steps: int = Field(ge=1)
    permission: str = ""  # in writing, where the teacher's terms bar this or aren't known: text or file
    signal: Literal["token", "distribution"] = "token"  # of the sampled token, or the whole reverse KL
    teacher_weight: float = Field(default=1.0, gt=0)
    task_weight: float = Field(default=0.0, ge=0)  # of the verdict's advantage beside the teacher's; 0: none
    prompts_per_step: int = Field(default=16, ge=1)
    samples_per_prompt: int = Field(default=4, ge=2)
    max_completion_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    system: str | None = None
    loss: PolicyLossSettings = PolicyLossSettings()
    minibatches: int = Field(default=1, ge=1)
    optim: OptimSettings = OptimSettings()
    lora: LoRASettings | None = None
    micro_batch_tokens: int = Field(default=4096, ge=1)
    max_batch: int = Field(default=256, ge=1)
    seed: int = 0
    save_every: int = Field(default=10, ge=1)
    rollouts_every: int = Field(default=1, ge=1)
    dtype: str = "auto"
    device: str = "cpu"

    @model_validator(mode="after")
    def _one_to_be_held_to(self) -> "OnPolicySettings":
        if self.loss.kl_coefficient:
            raise ValueError("loss.kl_coefficient: the teacher is what the student is held to; leave it out")
        return self

    def policy(self) -> GRPOSettings:
        """What the parts of RL that are used here are told."""
        own = {"teacher", "permission", "signal", "teacher_weight", "task_weight"}
        values = self.model_dump(exclude=own, exclude_unset=True)
        given = {"prompts_per_step", "samples_per_prompt", "max_completion_tokens", "micro_batch_tokens"}
        values |= {name: getattr(self, name) for name in given}
        return build(GRPOSettings, values, "distill")


def check(settings: OnPolicySettings) -> None:
    """What can be refused before anything runs."""
    for stream in open_streams(settings.policy()).streams:
        stream.item(0)


@dataclass(frozen=True)
class Teaching:
    """The teacher's part in the update. loss: None is the policy loss of the annotated advantages."""

    lm: LanguageModel
    by: TaughtBy
    annotate: Annotate
    loss: HeadLoss | None

    @property
    def passes(self) -> int:
        """Of the teacher over each micro-batch."""
        return 1 + (self.loss is not None)


def main(settings: OnPolicySettings, stage: Stage) -> dict[str, Any]:
    policy = settings.policy()
    with Judge() as judge:
        trainer = open_trainer(policy, judge)
        teaching = open_teaching(settings, trainer.lm, stage)
        done = restore_trainer(trainer, stage)
        trainer.sampler.generator.load_weights(trainer.learner.weights(), version=done)
        for step in range(done + 1, settings.steps + 1):
            one_step(trainer, teaching, settings, step, stage)
            if step % settings.save_every == 0 and step < settings.steps:
                save_progress(stage, trainer.learner, trainer.parts)
            stop_if_asked(stage, trainer.learner, trainer.parts, settings.minibatches)
    save_adapter(stage, trainer.learner.adapters, settings.model)
    origins = [*trainer.sampler.streams.origins, teaching.by.origin]
    detail = teaching.by.detail(in_words(settings))
    save_model(stage, trainer.lm, "distill", settings, origins, settings.steps, detail, teaching.by.teachers)
    return {"steps": settings.steps, "problems": trainer.sampler.streams.index}


def in_words(settings: OnPolicySettings) -> str:
    how = "of the sampled token" if settings.signal == "token" else "over all tokens"
    own = (
        f"{settings.teacher_weight:g} x KL(student || teacher) {how} at temperature {settings.temperature:g}"
    )
    return f"{own} + {settings.task_weight:g} x task" if settings.task_weight else own


def open_teaching(settings: OnPolicySettings, student: LanguageModel, stage: Stage) -> Teaching:
    """Raises BadInput where the teacher speaks of other tokens than the student, or its terms bar it."""
    lm = load(settings.teacher, dtype=settings.dtype, device=settings.device)
    by = taught_by_model(lm, settings.permission)
    found = compare(student.tokenizer, lm.tokenizer, student.config.vocab_size)
    refuse_different(found, student.name, lm.name)
    stage.say(f"vocabularies of {student.name} and {lm.name}: {found.kind} ({found.why})")
    stage.say(f"loss {in_words(settings)}")
    live = LiveTeacher(lm.network, found.to_teacher)
    annotate = Annotate(
        logprobs_of(live, settings.temperature),
        settings.teacher_weight if settings.signal == "token" else 0.0,
        settings.task_weight,
    )
    if settings.signal == "token":
        return Teaching(lm, by, annotate, None)
    own = DivergenceSettings(name="reverse_kl", temperature=settings.temperature)
    whole = LiveLoss(own, live, at=settings.temperature)
    policy = PolicyLoss(settings.loss) if settings.task_weight else None
    return Teaching(lm, by, annotate, WithTask(whole, settings.teacher_weight, policy))


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
    flops += teaching.passes * update_flops(teaching.lm.config, batches) // 3
    stage.use("train", updated.seconds, sum(b.num_tokens for b in batches), flops)
