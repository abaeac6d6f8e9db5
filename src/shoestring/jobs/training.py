"""What every training job does around its loop: open the model, go on from a saved state, save."""

import datetime
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from shoestring.budget.flops import mtp_flops, train_flops
from shoestring.errors import Interrupted
from shoestring.models.config import ModelConfig
from shoestring.origin import Lineage, Origin
from shoestring.origin import Stage as LineageStage
from shoestring.run import Stage, replace_folder
from shoestring.run.files import saving
from shoestring.settings import Settings
from shoestring.train.batch import MicroBatch, sum_of_contexts
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


def restore(stage: Stage, learner: Resumable, parts: Mapping[str, Stateful]) -> int:
    """Go on from the stage's saved state where there is one. Returns the steps already done."""
    if not (stage.state_dir / "progress.json").exists():
        return 0
    learner.load_state_dict(load_state(stage.state_dir, parts))
    stage.truncate_metrics(learner.step)
    stage.say(f"going on from step {learner.step}")
    return learner.step


def save_progress(stage: Stage, learner: Resumable, parts: Mapping[str, Stateful]) -> None:
    """The state of the step just done, in place only once it is whole."""
    temporary = stage.folder / "state.tmp"
    with saving(stage.state_dir):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_state(temporary, learner.state_dict(), parts)
    replace_folder(temporary, stage.state_dir)


def stop_if_asked(stage: Stage, learner: Resumable, parts: Mapping[str, Stateful]) -> None:
    if stage.stop_requested:
        save_progress(stage, learner, parts)
        raise Interrupted(
            f"stopped after step {learner.step} of '{stage.name}'; it is saved: "
            "go on with the same command and --resume"
        )


def update_flops(config: ModelConfig, batches: Sequence[MicroBatch], mtp: bool = False) -> int:
    """What one update's mathematics needed; mtp: whether the MTP modules were trained."""
    pairs = sum(sum_of_contexts(b.packed) for b in batches)
    tokens, targets = sum(b.num_tokens for b in batches), sum(b.num_targets for b in batches)
    further = 3 * mtp_flops(config, tokens, pairs, targets) if mtp else 0
    return train_flops(config, tokens, pairs, targets) + further


def save_model(
    stage: Stage, model: Saveable, job: str, settings: Settings, origins: Sequence[Origin], steps: int
) -> None:
    """The finished model with its lineage; the resume state, three times its size, is dropped."""
    described = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    model.lineage = model.lineage.then(
        LineageStage(
            name=stage.name,
            job=job,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            detail={"steps": steps, "settings_sha256": hashlib.sha256(described.encode()).hexdigest()},
            origins=tuple(dict.fromkeys(origins)),
        )
    )
    temporary = stage.folder / "model.tmp"
    with saving(stage.model_dir):
        shutil.rmtree(temporary, ignore_errors=True)
        model.save(temporary)
    replace_folder(temporary, stage.model_dir)
    # what `restore` looks for goes first: a kill in between must not leave half a state
    (stage.state_dir / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(stage.state_dir, ignore_errors=True)
