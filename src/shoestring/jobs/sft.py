"""Supervised fine-tuning: worked solutions in, loss on the assistant's tokens only."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from pydantic import Field

from shoestring.errors import BadInput
from shoestring.jobs.handles import HERE, Handles
from shoestring.jobs.recipe_units import REFERENCE
from shoestring.jobs.sft_rows import MixedRows, RowSource, SourceSettings, open_source, open_sources
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
from shoestring.lm import load
from shoestring.models.config import ModelConfig
from shoestring.provenance.scan import ScanSettings
from shoestring.run import Stage
from shoestring.settings import Settings
from shoestring.text.message import Rendered
from shoestring.text.packing import pack, share_prefix, split_by_tokens
from shoestring.text.template import Template
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Metrics
from shoestring.train.lora import Adapters, LoRASettings
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.state import Stateful


class SFTOptim(OptimSettings):
    """Its own class, so that a recipe which sets one of these keeps the others."""

    learning_rate: float = Field(default=2e-4, gt=0)
    schedule: Literal["constant", "cosine"] = "cosine"


class SFTSettings(Settings):
    model: str
    suites: list[str] = Field(default_factory=list)  # whose worked solutions are learnt, mixed evenly
    tools: list[Literal["calculator"]] = Field(default_factory=list)  # worked by calling: sums and products
    data: str = ""  # or conversations: a file (.jsonl, .parquet), "bilingual", "own-name:...", a stage's rows
    sources: list[SourceSettings] = Field(default_factory=list)  # or several of these, by weight
    scan: ScanSettings | None = None  # what is done with rows that should not be learnt; None: told alone
    steps: int = Field(ge=1)
    rows_per_step: int = Field(default=32, ge=1)
    system: str | None = None  # None: the template's own
    max_row_tokens: int = Field(default=1024, ge=2)  # longer rows are left out and counted, never cut
    micro_batch_tokens: int = Field(default=4096, ge=1)
    optim: SFTOptim = SFTOptim()
    objectives: Objectives = Objectives()
    lora: LoRASettings | None = None  # train an adapter; None: the whole model
    rehearsal: bool = False  # a thrown-away step with the longest rows first, so that memory runs out at once
    seed: int = 0
    save_every: int = Field(default=50, ge=1)
    dtype: str = "auto"
    device: str = "cpu"


def open_rows(settings: SFTSettings) -> RowSource:
    _check_one(settings)
    if settings.sources:
        return open_sources(settings.sources, settings.seed, settings.system)
    return open_source(settings.suites, settings.data, settings.seed, settings.system, settings.tools)


def check(settings: SFTSettings) -> None:
    """What can be refused before anything runs. Rows that an earlier stage is to make aren't there yet."""
    _check_one(settings)
    given = settings.sources or [settings]
    for source in given:
        if not source.data.startswith(REFERENCE):
            open_source(source.suites, source.data, settings.seed, settings.system, source.tools)


def _check_one(settings: SFTSettings) -> None:
    if sum(map(bool, (settings.suites, settings.data, settings.sources))) != 1:
        raise BadInput("sft: give either suites or data, or else several sources")
    if settings.tools and not settings.suites:
        raise BadInput("sft: tools are for worked solutions of suites; with sources each has its own")


def main(settings: SFTSettings, stage: Stage, handles: Handles = HERE) -> dict[str, Any]:
    rows = open_rows(settings)
    scan_rows(rows, settings.scan, stage)
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    adapters = Adapters(lm.network, settings.lora, settings.seed) if settings.lora else None
    learner = handles.learner(lm, settings.optim, settings.steps, settings.objectives, adapters)
    tally = Tally()
    parts: dict[str, Stateful] = {"rows": rows, "tally": tally}
    done = restore(stage, learner, parts)
    if settings.rehearsal and not done:
        rehearse_longest(stage, learner, settings.max_row_tokens, 0, settings.micro_batch_tokens)
    for step in range(done + 1, settings.steps + 1):
        rendered = take_rows(rows, lm, settings, tally)
        batches = make_batches(rendered, settings.micro_batch_tokens)
        metrics = learner.update(batches, sft_loss)

        targets = sum(b.num_targets for b in batches)
        tokens = sum(len(r.ids) for r in rendered)
        flops = update_flops(lm.config, batches, mtp=metrics.mtp_loss is not None, adapters=adapters)
        stage.use("train", seconds=metrics.seconds, tokens=tokens, flops=flops)
        stage.log(step, step_metrics(metrics, targets, tokens, tally.too_long))
        speed = f"{tokens / metrics.seconds:.0f}"
        stage.progress(step, settings.steps, loss=f"{metrics.loss:.3f}", **{"tokens/s": speed})
        if step % settings.save_every == 0 and step < settings.steps:
            save_progress(stage, learner, parts)
        stop_if_asked(stage, learner, parts)
    save_adapter(stage, adapters, settings.model)
    save_model(stage, lm, "sft", settings, rows.origins, settings.steps, teachers=rows.teachers)
    result: dict[str, Any] = {"steps": settings.steps, "rows": tally.rows, "rows_too_long": tally.too_long}
    if isinstance(rows, MixedRows):
        result["rows_by_source"] = rows.by_source()
    return result


def step_metrics(metrics: Metrics, targets: int, tokens: int, too_long: int) -> dict[str, float]:
    """Of an update on rows. targets: those of `tokens` that were trained; too_long: rows left out so far."""
    return {
        "loss": metrics.loss,
        "grad_norm": metrics.grad_norm,
        "learning_rate": metrics.learning_rate,
        "num_tokens": tokens,
        "trained_share": targets / tokens,
        "rows_too_long": too_long,
        "skipped_step": float(metrics.skipped),
        "oom_splits": metrics.oom_splits,
        "step_time": metrics.seconds,
        "perf/throughput": tokens / metrics.seconds,
    }


class Reader(Protocol):
    """What is asked of the model here: how it reads a row, and how long one may be. A LanguageModel is
    one."""

    @property
    def template(self) -> Template: ...

    @property
    def config(self) -> ModelConfig: ...


class Tally:
    """Rows taken and rows left out, kept across a resume."""

    def __init__(self) -> None:
        self.rows = 0
        self.too_long = 0

    def state_dict(self) -> dict[str, int]:
        return {"rows": self.rows, "too_long": self.too_long}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.rows, self.too_long = state["rows"], state["too_long"]


def take_rows(rows: RowSource, lm: "Reader", settings: SFTSettings, tally: "Tally") -> list[Rendered]:
    """The step's rows. Each has tokens in the loss and its end of turn among them; a row over the limit is
    left out whole, for a cut one would teach the model to run on."""
    taken: list[Rendered] = []
    limit = min(settings.max_row_tokens, lm.config.max_position_embeddings)
    while len(taken) < settings.rows_per_step:
        messages, row_id = rows.next()
        row = lm.template.render(messages, row_id=row_id)
        if len(row.ids) > limit:
            tally.too_long += 1
            if tally.too_long > 100 * (tally.rows + 1):
                raise BadInput(
                    f"nearly every row is longer than {limit} tokens, the lesser of max_row_tokens "
                    f"({settings.max_row_tokens}) and the window ({lm.config.max_position_embeddings})"
                )
            continue
        if not any(row.trained):
            raise BadInput(f"row {row_id} has no assistant's turn: there is nothing to train on")
        tally.rows += 1
        taken.append(row)
    return taken


def make_batches(rows: Sequence[Rendered], micro_batch_tokens: int) -> list[MicroBatch]:
    """Micro-batches without padding; rows that begin alike (one system prompt) share that beginning."""
    targets = sum(sum(r.trained) for r in rows)
    groups = split_by_tokens([len(r.ids) for r in rows], micro_batch_tokens)
    packs = [pack([share_prefix([rows[i] for i in group])]) for group in groups]
    return [MicroBatch(p, torch.full((len(p.targets),), 1.0 / targets)) for p in packs]
