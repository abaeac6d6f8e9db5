"""A student learns the teacher's whole distribution of every token of given rows: the teacher beside it, or
its logprobs kept on the disk first, so that the two are never in memory together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from shoestring.distill.distribution import KeptLoss
from shoestring.distill.divergence import DivergenceSettings, formula
from shoestring.distill.live import LiveLoss, LiveTeacher
from shoestring.distill.store import LogprobStore, Manifest, read_manifest
from shoestring.distill.vocabulary import matched, transplant
from shoestring.errors import BadInput
from shoestring.jobs import sft
from shoestring.jobs.distill_store import fill_store, with_teacher
from shoestring.jobs.handles import HERE, Handles
from shoestring.jobs.origins import TaughtBy, require_teacher, taught_by_model
from shoestring.jobs.sft import SFTSettings, Tally, open_rows, step_metrics, take_rows
from shoestring.jobs.sft_scan import scan_rows
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
from shoestring.models.config import ModelConfig
from shoestring.ops.memory import give_back
from shoestring.run import Stage
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, Metrics
from shoestring.train.lora import Adapters
from shoestring.train.loss import HeadLoss
from shoestring.train.state import Stateful

TEACHER = "teacher.json"


class DistributionSettings(SFTSettings):
    """As SFT's, with a teacher. Rows are cut by the student's tokenizer and read by both."""

    teacher: str = ""  # a model; may be left out where `store` has all of its logprobs already
    divergence: DivergenceSettings = DivergenceSettings()
    keep: int = Field(default=64, ge=0)  # tokens of the teacher's distribution that are stored; 0: it is live
    store: str = ""  # folder of its logprobs, which other runs may share; "": the stage's own
    permission: str = ""  # in writing, where the teacher's terms bar this or aren't known: text or file
    tokenizer: Literal["own", "teacher"] = "own"  # teacher: the student is given its vocabulary first


def check(settings: DistributionSettings) -> None:
    """What can be refused before anything runs."""
    sft.check(settings)
    if not settings.teacher and not (settings.keep and settings.store):
        raise BadInput("distill: name a teacher, or a store that has its logprobs")
    if not settings.teacher and settings.tokenizer == "teacher":
        raise BadInput('distill: tokenizer = "teacher" needs the teacher itself')
    if settings.teacher:
        require_teacher(settings.teacher, settings.permission)
    if settings.store and not settings.keep:
        raise BadInput("distill: with keep = 0 the teacher is live: leave out store")


OTHER_TOKENIZER = "give the student the teacher's tokenizer (tokenizer = 'teacher')"


@dataclass(frozen=True)
class Taught:
    """What the student learns from, and whose it is."""

    loss: HeadLoss
    store: LogprobStore | None
    network: ModelConfig | None  # of a live teacher: its forward passes are metered
    by: TaughtBy


@dataclass(frozen=True)
class Reads:
    """How the student reads rows, known without its weights."""

    name: str
    tokenizer: Tokenizer
    template: Template
    config: ModelConfig

    @classmethod
    def of(cls, lm: LanguageModel) -> "Reads":
        return cls(lm.name, lm.tokenizer, lm.template, lm.config)


def main(settings: DistributionSettings, stage: Stage, handles: Handles = HERE) -> dict[str, Any]:
    check(settings)
    rows, tally = open_rows(settings), Tally()
    scan_rows(rows, settings.scan, stage)
    taught = taught_by(settings, stage)
    lm = open_student(settings, stage)
    adapters = Adapters(lm.network, settings.lora, settings.seed) if settings.lora else None
    learner = handles.learner(lm, settings.optim, settings.steps, settings.objectives, adapters)
    parts: dict[str, Stateful] = {"rows": rows, "tally": tally}
    stage.say(f"loss {formula(settings.divergence)}")
    done = restore(stage, learner, parts)
    if settings.rehearsal and not done:
        rehearse_longest(stage, learner, settings.max_row_tokens, 0, settings.micro_batch_tokens)
    for step in range(done + 1, settings.steps + 1):
        rendered = take_rows(rows, lm, settings, tally)
        batches = with_teacher(rendered, settings.micro_batch_tokens, taught.store)
        metrics = learner.update(batches, taught.loss)
        tokens = sum(len(row.ids) for row in rendered)
        meter(stage, learner, taught, batches, metrics, tokens)
        log(stage, step, settings, batches, metrics, tokens, tally.too_long)
        if step % settings.save_every == 0 and step < settings.steps:
            save_progress(stage, learner, parts)
        stop_if_asked(stage, learner, parts)
    save_adapter(stage, adapters, settings.model)
    origins, teachers = [*rows.origins, taught.by.origin], {**rows.teachers, **taught.by.teachers}
    detail = taught.by.detail(formula(settings.divergence))
    save_model(stage, lm, "distill", settings, origins, settings.steps, detail, teachers)
    return {"steps": settings.steps, "rows": tally.rows, "rows_too_long": tally.too_long}


def open_student(settings: DistributionSettings, stage: Stage) -> LanguageModel:
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    if settings.tokenizer == "own":
        return lm
    teacher = load(settings.teacher, dtype=settings.dtype)
    moved = transplant(lm, teacher.tokenizer, teacher.template)
    stage.say(str(moved))
    return moved.lm


def taught_by(settings: DistributionSettings, stage: Stage) -> Taught:
    """The teacher, opened and let go again where its logprobs are stored. Raises BadInput where it speaks of
    other tokens than the student, or a store is another's."""
    student = Reads.of(open_student(settings, stage))
    give_back(torch.device(settings.device))
    if not settings.teacher:
        return taught_by_store(settings, student)
    teacher = load(settings.teacher, dtype=settings.dtype, device=settings.device)
    rows_of_head, names = student.config.vocab_size, (student.name, teacher.name)
    to_teacher = matched(
        student.tokenizer, rows_of_head, teacher.tokenizer, names, stage.say, OTHER_TOKENIZER
    )
    by = taught_by_model(teacher, settings.permission)
    if not settings.keep:
        live = LiveTeacher(teacher.network, to_teacher)
        return Taught(LiveLoss(settings.divergence, live), None, teacher.config, by)
    folder = Path(settings.store) if settings.store else stage.folder / "teacher"
    store = LogprobStore(
        folder, manifest(settings, student, by.origin.teacher or "", by.origin.teacher_sha256)
    )
    by.save(folder / TEACHER)
    rows, tally = open_rows(settings), Tally()
    wanted = [row for _ in range(settings.steps) for row in take_rows(rows, student, settings, tally)]
    tail = settings.divergence.tail
    fill_store(store, teacher, to_teacher, wanted, settings.micro_batch_tokens, stage, tail)
    del teacher
    give_back(torch.device(settings.device))
    return Taught(KeptLoss(settings.divergence), store, None, by)


def taught_by_store(settings: DistributionSettings, student: Reads) -> Taught:
    """Without the teacher: its logprobs must be there, in the student's ids, and its terms must let them be
    learnt from. Raises BadInput."""
    folder = Path(settings.store)
    found = read_manifest(folder)
    store = LogprobStore(folder, manifest(settings, student, found.teacher, found.sha256))
    by = TaughtBy.read(folder / TEACHER).allowed(settings.permission)
    return Taught(KeptLoss(settings.divergence), store, None, by)


def manifest(settings: DistributionSettings, student: Reads, teacher: str, sha256: str) -> Manifest:
    """What logprobs of this teacher must be for this student."""
    vocab = student.config.vocab_size
    return Manifest(
        teacher=teacher,
        sha256=sha256,
        tokenizer=student.tokenizer.fingerprint,
        vocab=vocab,
        temperature=settings.divergence.temperature,
        k=min(settings.keep, vocab),
    )


def meter(
    stage: Stage, learner: Learner, taught: Taught, batches: list[MicroBatch], metrics: Metrics, tokens: int
) -> None:
    """A live teacher's forward pass is a third of an update of its size."""
    flops = update_flops(
        learner.lm.config, batches, mtp=metrics.mtp_loss is not None, adapters=learner.adapters
    )
    if taught.network is not None:
        flops += update_flops(taught.network, batches) // 3
    stage.use("train", seconds=metrics.seconds, tokens=tokens, flops=flops)


def log(
    stage: Stage,
    step: int,
    settings: DistributionSettings,
    batches: list[MicroBatch],
    metrics: Metrics,
    tokens: int,
    too_long: int,
) -> None:
    share, targets = settings.divergence.cross_entropy, sum(b.num_targets for b in batches)
    entropy = -sum(float(own.sum()) for own in metrics.logprobs) / targets
    divergence = (metrics.loss - share * entropy) / (1 - share)
    own = {"divergence": divergence, "cross_entropy": entropy}
    stage.log(step, step_metrics(metrics, targets, tokens, too_long) | own)
    speed = f"{tokens / metrics.seconds:.0f}"
    stage.progress(step, settings.steps, divergence=f"{divergence:.3f}", **{"tokens/s": speed})
