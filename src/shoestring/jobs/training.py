"""What every training job does around its loop: open the model, go on from a saved state, save."""

import dataclasses
import datetime
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from shoestring.budget.flops import adapter_flops, mtp_flops, train_flops
from shoestring.errors import Interrupted
from shoestring.models.bases import BASES
from shoestring.models.config import ModelConfig
from shoestring.origin import Lineage, Origin
from shoestring.origin import Stage as LineageStage
from shoestring.provenance.card import provenance_card
from shoestring.run import Stage, replace_folder
from shoestring.run.files import dumps, saving, write_atomic
from shoestring.settings import Settings
from shoestring.train.batch import MicroBatch, sum_of_contexts
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters
from shoestring.train.rehearsal import longest_batch, rehearse
from shoestring.train.state import Stateful, TrainState, load_state, save_state


class Resumable(Protocol):
    """What is asked of a learner here."""

    step: int

    def state_dict(self) -> TrainState: ...

    def load_state_dict(self, state: TrainState) -> None: ...


class Saveable(Protocol):
    """A model with its lineage: a LanguageModel, a PreferenceModel."""

    lineage: Lineage

    def save(self, folder: Path) -> None: ...


def restore(
    stage: Stage, learner: Resumable, parts: Mapping[str, Stateful], updates_per_step: int = 1
) -> int:
    """Go on from the stage's saved state where there is one. Returns the steps already done, of
    `updates_per_step` of the learner's each."""
    if not (stage.state_dir / "progress.json").exists():
        return 0
    learner.load_state_dict(load_state(stage.state_dir, parts))
    done = learner.step // updates_per_step
    stage.truncate_metrics(done)
    stage.say(f"going on from step {done}")
    return done


def rehearse_longest(
    stage: Stage, learner: Learner, row_tokens: int, prompt_tokens: int, micro_batch_tokens: int
) -> None:
    """Before a first step: the largest micro-batch that these limits allow is tried and thrown away. What it
    took is said, and kept in rehearsal.json."""
    config = learner.lm.config
    window = config.max_position_embeddings
    batch = longest_batch(row_tokens, prompt_tokens, micro_batch_tokens, window, config.vocab_size)
    rehearsed = rehearse(learner, batch)
    stage.say(str(rehearsed))
    write_atomic(stage.folder / "rehearsal.json", dumps(dataclasses.asdict(rehearsed), indent=2) + "\n")


def save_progress(stage: Stage, learner: Resumable, parts: Mapping[str, Stateful]) -> None:
    """The state of the step just done, in place only once it is whole."""
    temporary = stage.folder / "state.tmp"
    with saving(stage.state_dir):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_state(temporary, learner.state_dict(), parts)
    replace_folder(temporary, stage.state_dir)


def stop_if_asked(
    stage: Stage, learner: Resumable, parts: Mapping[str, Stateful], updates_per_step: int = 1
) -> None:
    if stage.stop_requested:
        save_progress(stage, learner, parts)
        raise Interrupted(
            f"stopped after step {learner.step // updates_per_step} of '{stage.name}'; it is saved: "
            "go on with the same command and --resume"
        )


def update_flops(
    config: ModelConfig,
    batches: Sequence[MicroBatch],
    mtp: bool = False,
    adapters: Adapters | None = None,
) -> int:
    """What one update's mathematics needed; mtp: whether the MTP modules were trained."""
    pairs = sum(sum_of_contexts(b.packed) for b in batches)
    tokens, targets = sum(b.num_tokens for b in batches), sum(b.num_targets for b in batches)
    if adapters is not None:
        return adapter_flops(config, tokens, pairs, targets, adapters.num_trained)
    further = 3 * mtp_flops(config, tokens, pairs, targets) if mtp else 0
    return train_flops(config, tokens, pairs, targets) + further


def save_adapter(stage: Stage, adapters: Adapters | None, model: str) -> None:
    """adapter/ in peft's format, beside model/, which has it merged. `model`: what the stage began with; an
    embedded base goes by its public name."""
    if adapters is None:
        return
    base = BASES[model].copy_of if model in BASES else model
    final, temporary = stage.folder / "adapter", stage.folder / "adapter.tmp"
    with saving(final):
        shutil.rmtree(temporary, ignore_errors=True)
        adapters.save(temporary, base)
    replace_folder(temporary, final)


def save_model(
    stage: Stage,
    model: Saveable,
    job: str,
    settings: Settings,
    origins: Sequence[Origin],
    steps: int,
    detail: Mapping[str, Any] | None = None,
    teachers: Mapping[str, tuple[LineageStage, ...]] | None = None,
) -> None:
    """The finished model with its lineage, `detail` in it and the stages of those who wrote its rows, and
    with its card; the resume state, three times its size, is dropped."""
    described = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    model.lineage = model.lineage.then(
        LineageStage(
            name=stage.name,
            job=job,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            detail={
                "steps": steps,
                **(detail or {}),
                "settings_sha256": hashlib.sha256(described.encode()).hexdigest(),
            },
            origins=tuple(dict.fromkeys(origins)),
        ),
        teachers,
    )
    temporary = stage.folder / "model.tmp"
    with saving(stage.model_dir):
        shutil.rmtree(temporary, ignore_errors=True)
        model.save(temporary)
        (temporary / "README.md").write_text(provenance_card(model.lineage, stage.name), encoding="utf-8")
    replace_folder(temporary, stage.model_dir)
    # what `restore` looks for goes first: a kill in between must not leave half a state
    (stage.state_dir / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(stage.state_dir, ignore_errors=True)
