"""Pretraining: a network from nothing, or one that goes on, over a mixture of documents."""

from typing import Any

import torch

from shoestring.jobs.handles import HERE, Handles
from shoestring.jobs.pretrain_check import validate
from shoestring.jobs.pretrain_data import TokenRows, held_out
from shoestring.jobs.pretrain_model import continued_model, new_model
from shoestring.jobs.pretrain_settings import PretrainSettings, check
from shoestring.jobs.training import restore, save_model, save_progress, stop_if_asked, update_flops
from shoestring.models.numerics import use_fp8
from shoestring.run import Stage
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Metrics
from shoestring.train.loss import sft_loss
from shoestring.train.state import Stateful


def main(settings: PretrainSettings, stage: Stage, handles: Handles = HERE) -> dict[str, Any]:
    check(settings)
    lm = continued_model(settings) if settings.model else new_model(settings)
    use_fp8(lm.network, settings.numerics == "fp8")
    rows = TokenRows(settings.corpus, settings.seed, lm.tokenizer, lm.template, settings.sequence_length)
    kept = held_out(rows, settings.validation_documents)
    if lacking := rows.without_held_out():
        stage.say(f"no document of {', '.join(lacking)} is held out: bits per byte say nothing of it")
    objectives = settings.objectives.at(0, settings.steps)
    learner = handles.learner(lm, settings.optim, settings.steps, objectives, None)
    parts: dict[str, Stateful] = {"rows": rows}
    done = restore(stage, learner, parts)
    for step in range(done + 1, settings.steps + 1):
        learner.objectives = settings.objectives.at(step - 1, settings.steps)
        count = rows_at(settings, step - 1)
        batches = make_batches(rows, settings, count)
        metrics = learner.update(batches, sft_loss)
        measured = step_metrics(metrics, batches)
        tokens = count * settings.sequence_length
        flops = update_flops(lm.config, batches, mtp=metrics.mtp_loss is not None)
        stage.use("train", metrics.seconds, tokens, flops)
        if step % settings.validation_every == 0 or step == settings.steps:
            measured |= validate(learner, kept, settings, stage, step)
        stage.log(step, measured)
        shown = {"tokens/s": f"{tokens / metrics.seconds:.0f}"}
        shown |= {"max_vio": f"{measured['max_vio']:.2f}"} if "max_vio" in measured else {}
        stage.progress(step, settings.steps, loss=f"{metrics.loss:.3f}", **shown)
        if step % settings.save_every == 0 and step < settings.steps:
            save_progress(stage, learner, parts)
        if step < settings.steps:  # what the last step measured is in no saved state: let it end
            stop_if_asked(stage, learner, parts)
    stage.say(rows.in_words())
    save_model(stage, lm, "pretrain", settings, rows.origins, settings.steps, teachers=rows.teachers)
    last = {k: v for k, v in measured.items() if k.startswith(("val", "max_vio", "mtp"))}
    return {"steps": settings.steps, **rows.counts(), **last}


def rows_at(settings: PretrainSettings, step: int) -> int:
    """Rows of 0-based `step`: growing evenly over ramp_steps where there is a ramp."""
    if not settings.ramp_rows_from or step >= settings.ramp_steps:
        return settings.rows_per_step
    grown = (settings.rows_per_step - settings.ramp_rows_from) * step // settings.ramp_steps
    return settings.ramp_rows_from + grown


def make_batches(rows: TokenRows, settings: PretrainSettings, count: int) -> list[MicroBatch]:
    """The step's rows in micro-batches of as many as fit."""
    each = max(1, settings.micro_batch_tokens // settings.sequence_length)
    sizes = [min(each, count - at) for at in range(0, count, each)]
    packs = [rows.take(size, settings.document_mask) for size in sizes]
    total = sum(len(p.targets) for p in packs)
    return [MicroBatch(p, torch.full((len(p.targets),), 1.0 / total)) for p in packs]


def step_metrics(metrics: Metrics, batches: list[MicroBatch]) -> dict[str, float]:
    tokens = sum(b.num_tokens for b in batches)
    measured = {
        "loss": metrics.loss,
        "grad_norm": metrics.grad_norm,
        "learning_rate": metrics.learning_rate,
        "num_tokens": tokens,
        "skipped_step": float(metrics.skipped),
        "step_time": metrics.seconds,
        "perf/throughput": tokens / metrics.seconds,
    }
    if metrics.mtp_loss is not None:
        measured["mtp_loss"] = metrics.mtp_loss
    if metrics.max_vio is not None:
        measured |= {"max_vio": metrics.max_vio.mean().item(), "max_vio_worst": metrics.max_vio.max().item()}
    return measured
