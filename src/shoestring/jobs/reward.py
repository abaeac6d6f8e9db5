"""Train a reward model: pairs of replies in, or replies that are labelled safe and unsafe; one number for a
reply out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from shoestring.budget.flops import train_flops
from shoestring.errors import BadInput
from shoestring.evals.statistics import wilson
from shoestring.jobs.origins import require_terms
from shoestring.jobs.training import restore, save_model, save_progress, stop_if_asked
from shoestring.lm import load
from shoestring.rl.preference import PreferenceModel, Scale
from shoestring.rl.preference_learner import (
    PreferenceBatch,
    RewardLearner,
    RewardMetrics,
    make_preference_batches,
)
from shoestring.rl.preference_rows import PreferenceStream, split_rows
from shoestring.run import Stage
from shoestring.settings import Settings
from shoestring.text.declared import teachers_of
from shoestring.text.preferences import OWN, Judged, Kind, PreferenceRows, num_bytes, read_preferences
from shoestring.train.batch import sum_of_contexts
from shoestring.train.optim import OptimSettings
from shoestring.train.state import Stateful


class RewardOptim(OptimSettings):
    """Its own class, so that a recipe which sets one of these keeps the others."""

    learning_rate: float = Field(default=2e-5, gt=0)
    schedule: Literal["constant", "cosine"] = "cosine"


class RewardModelSettings(Settings):
    model: str  # a language model, whose head is replaced by the score's
    kind: Kind = "helpful"  # "helpful": pairs, the answer is judged. "safety": labels, thinking and answer
    data: str = ""  # a .jsonl or .parquet file; "": the rows that come with the package
    steps: int = Field(ge=1)
    rows_per_step: int = Field(default=16, ge=1)  # pairs, or labelled replies
    max_length_ratio: float = Field(default=2.0, ge=1)  # pairs of less like lengths are left out and counted
    max_row_tokens: int = Field(default=1024, ge=2)  # longer rows are left out and counted, never cut
    micro_batch_tokens: int = Field(default=4096, ge=1)
    optim: RewardOptim = RewardOptim()
    seed: int = 0
    save_every: int = Field(default=50, ge=1)
    dtype: str = "auto"
    device: str = "cpu"


class Example:
    """A judged row as the network reads it."""

    def __init__(self, row: Judged, model: PreferenceModel) -> None:
        self.row = row
        self.rendered = [model.render(row.messages, reply, row.id) for reply in row.replies]
        self.num_tokens = max(len(r.ids) for r in self.rendered)


def open_data(settings: RewardModelSettings) -> PreferenceRows:
    """The rows, checked before anything runs."""
    path = Path(settings.data) if settings.data else OWN
    found = read_preferences(path, settings.kind, settings.max_length_ratio)
    require_terms({row.origin: None for row in found.rows}, teachers_of(path), str(path))
    return found


def main(settings: RewardModelSettings, stage: Stage) -> dict[str, Any]:
    data = open_data(settings)
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    model = PreferenceModel.start(lm, settings.kind, settings.seed)
    examples = [Example(row, model) for row in data.rows]
    train, held_out, too_long = choose(examples, settings, model)
    learner = RewardLearner(model.network, settings.optim, settings.steps)
    stream = PreferenceStream(len(train), settings.seed)
    parts: dict[str, Stateful] = {"rows": stream}
    done = restore(stage, learner, parts)
    for step in range(done + 1, settings.steps + 1):
        batches = make_batches([train[i] for i in stream.take(settings.rows_per_step)], settings)
        metrics = learner.update(batches)
        tokens = sum(len(b.packed.ids) for b in batches)
        stage.use("train", metrics.seconds, tokens, update_flops(model, batches))
        measured = step_metrics(metrics, batches) | {"num_tokens": tokens}
        stage.log(step, measured)
        shown = {name: f"{measured[name]:.3f}" for name in ("loss", "accuracy")}
        stage.progress(step, settings.steps, **shown)
        if step % settings.save_every == 0 and step < settings.steps:
            save_progress(stage, learner, parts)
        stop_if_asked(stage, learner, parts)
    of_train = scores_of(train, model, settings)
    everything = [score for scores in of_train for score in scores]
    model.scale = Scale(float(np.mean(everything)), float(np.std(everything)))
    result = {
        "steps": settings.steps,
        "kind": settings.kind,
        "rows": stream.index,
        "distinct_rows": len(train),
        "rows_too_long": too_long,
        **data.left_out,
        "train": judged_by(train, of_train),
        "held_out": judged_by(held_out, scores_of(held_out, model, settings)),
    }
    told = result["held_out"]
    stage.say(f"held out: {told['correct']} of {told['n']} as judged; with length {told['corr_length']}")
    origins = list(dict.fromkeys(example.row.origin for example in train))
    teachers = teachers_of(Path(settings.data)) if settings.data else None
    save_model(stage, model, "reward", settings, origins, settings.steps, teachers=teachers)
    return result


def choose(
    examples: Sequence[Example], settings: RewardModelSettings, model: PreferenceModel
) -> tuple[list[Example], list[Example], int]:
    """For training, held out, and how many are too long for either."""
    limit = min(settings.max_row_tokens, model.network.config.max_position_embeddings)
    short = [example for example in examples if example.num_tokens <= limit]
    train, held_out = split_rows(short, lambda example: example.row)
    if not train or not held_out:
        raise BadInput(
            f"{len(short)} of {len(examples)} rows are at most {limit} tokens long, {len(train)} of them to "
            f"learn from and {len(held_out)} held out by their prompts' hash: both are needed, give more "
            "rows or raise max_row_tokens"
        )
    return train, held_out, len(examples) - len(short)


def make_batches(examples: Sequence[Example], settings: RewardModelSettings) -> list[PreferenceBatch]:
    labels = [bool(example.row.safe) for example in examples] if settings.kind == "safety" else None
    rows = [example.rendered for example in examples]
    return make_preference_batches(rows, labels, settings.micro_batch_tokens)


def update_flops(model: PreferenceModel, batches: Sequence[PreferenceBatch]) -> int:
    pairs = sum(sum_of_contexts(b.packed) for b in batches)
    return train_flops(model.network.config, sum(len(b.packed.ids) for b in batches), pairs, 0)


def step_metrics(metrics: RewardMetrics, batches: Sequence[PreferenceBatch]) -> dict[str, float]:
    """accuracy: pairs whose chosen reply has the higher score, or labels on whose side of 0 the score is.
    margin: mean of chosen minus rejected. For labels "chosen" is what is safe."""
    better, worse, right = [], [], []
    for scores, batch in zip(metrics.scores, batches, strict=True):
        if batch.safe is None:
            pairs = scores.view(-1, 2)
            better, worse = [*better, *pairs[:, 0].tolist()], [*worse, *pairs[:, 1].tolist()]
            right += (pairs[:, 0] > pairs[:, 1]).tolist()
        else:
            better += scores[batch.safe].tolist()
            worse += scores[~batch.safe].tolist()
            right += ((scores > 0) == batch.safe).tolist()
    chosen, rejected = (sum(side) / len(side) if side else math.nan for side in (better, worse))
    means = {"reward_chosen": chosen, "reward_rejected": rejected, "margin": chosen - rejected}
    return {
        "loss": metrics.loss,
        "accuracy": sum(right) / len(right),
        **{name: value for name, value in means.items() if math.isfinite(value)},
        "grad_norm": metrics.grad_norm,
        "learning_rate": metrics.learning_rate,
        "skipped_step": float(metrics.skipped),
        "step_time": metrics.seconds,
    }


def scores_of(
    examples: Sequence[Example], model: PreferenceModel, settings: RewardModelSettings
) -> list[list[float]]:
    """Of each example's replies."""
    return model.raw_scores([example.rendered for example in examples], settings.micro_batch_tokens)


def judged_by(examples: Sequence[Example], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What the scores make of rows: accuracy with its 95 % interval, and whether length is what they follow.
    prompts: how many different ones, for rows of one are alike. corr_length is of score and answer's bytes
    over all replies; chosen_longer is the share of pairs that a judge who takes the longer one has right
    (half of one where both are as long), safe_corr_length the correlation of the label itself with length."""
    if examples[0].row.safe is None:
        right = [better > worse for better, worse in scores]
    else:
        right = [(own[0] > 0) == e.row.safe for e, own in zip(examples, scores, strict=True)]
    lengths = [[float(num_bytes(reply)) for reply in e.row.replies] for e in examples]
    interval = wilson(sum(right), len(right))
    told: dict[str, Any] = {
        "n": len(right),
        "prompts": len({repr(e.row.messages) for e in examples}),
        "correct": sum(right),
        "accuracy": sum(right) / len(right),
        "ci95": [interval.low, interval.high],
        "corr_length": correlation([s for own in scores for s in own], [n for own in lengths for n in own]),
    }
    if examples[0].row.safe is None:
        longer = [0.5 * (float(a > b) + float(a >= b)) for a, b in lengths]
        told["chosen_longer"] = sum(longer) / len(longer)
    else:
        labels = [float(bool(e.row.safe)) for e in examples]
        told["safe_corr_length"] = correlation(labels, [own[0] for own in lengths])
    return told


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's; None where either doesn't vary."""
    if len(xs) < 2 or np.std(xs) == 0 or np.std(ys) == 0:
        return None
    return round(float(np.corrcoef(xs, ys)[0, 1]), 3)
