"""What is to be exported: a model as it lies on disk, or an adapter merged into its base; and the base that
it was trained from, where that is at hand."""

from dataclasses import dataclass
from pathlib import Path

import torch

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel, load
from shoestring.model_files import model_folder
from shoestring.models.bases import BASES
from shoestring.models.shards import open_folder
from shoestring.origin import Lineage
from shoestring.origin import Stage as LineageStage
from shoestring.provenance.reach import TAKEN
from shoestring.release.adapter import Adapter, is_adapter, merge, read_adapter

ADAPTER = "adapter"  # a stage's folder of it, beside model/
NOT_TRAINED = (*TAKEN, "declared", "init")


@dataclass
class Source:
    """lm in float32, every number as it is stored; stored: the precision that says them all. base: what
    `load` opens, or the reason why there is none. adapter: what the model was made with, if it was."""

    lm: LanguageModel
    stored: torch.dtype
    trained: bool
    base: str | None
    why_no_base: str
    adapter: Adapter | None = None


def open_source(model: str, base: str | None) -> Source:
    """Raises BadInput, one line."""
    path = Path(model)
    if path.is_dir() and is_adapter(path):
        return _merged(path, base)
    lm = load(model, dtype="float32")
    folder = model_folder(path) if path.is_dir() else None
    if folder is not None and folder.name == "model" and lm.lineage.stages:
        lm.name = lm.lineage.stages[-1].name  # a stage's; every run has a "model"
    adapter = folder.parent / ADAPTER if folder is not None else None
    found = read_adapter(adapter) if adapter is not None and is_adapter(adapter) else None
    trained = was_trained(lm.lineage)
    known, why = _base_of(lm.lineage, base or (found.base if found else None), trained)
    return Source(lm, stored_precision(folder), trained, known, why, found)


def was_trained(lineage: Lineage) -> bool:
    return any(stage.job not in NOT_TRAINED for stage in lineage.stages)


def stored_precision(folder: Path | None) -> torch.dtype:
    """float32 where any matrix is kept in it or in F16, of which bfloat16 can't say every number. A GGUF
    file's blocks become bfloat16, as in training."""
    if folder is None:
        return torch.bfloat16
    stored = open_folder(folder)
    kinds = {kind for name, kind in stored.kinds.items() if len(stored.shapes[name]) > 1}
    return torch.float32 if kinds & {"F32", "F16", "F64"} - _scales(stored.kinds) else torch.bfloat16


def _scales(kinds: dict[str, str]) -> set[str]:
    """FP8 checkpoints keep float32 scales beside their blocks."""
    return {"F32"} if "F8_E4M3" in kinds.values() else set()


def _merged(folder: Path, base: str | None) -> Source:
    adapter = read_adapter(folder)
    known = base or adapter.base
    if not known:
        raise BadInput(f"{folder} doesn't say which base it belongs to: give it with --base")
    try:
        lm = load(known, dtype="float32")
    except BadInput as error:
        raise BadInput(f"{folder} is an adapter of {known}: {error}; give its base with --base") from None
    merge(lm.network, adapter)
    beside = Path(known)
    stored = stored_precision(model_folder(beside) if beside.is_dir() else None)
    for name, tensor in lm.network.public_tensors():
        if not name.endswith("e_score_correction_bias"):
            tensor.copy_(tensor.to(stored))  # what the merged model is, in the precision that it is kept in
    # the adapter's own training: its stage has the lineage, beside the merged model
    trained = folder.parent / "model"
    lm.lineage = Lineage.load(trained) if (trained / "lineage.json").exists() else _then_adapter(lm, folder)
    lm.name = folder.parent.name if folder.name == ADAPTER else folder.name
    return Source(lm, stored, True, known, "", adapter)


def _then_adapter(lm: LanguageModel, folder: Path) -> Lineage:
    """Nobody says how the adapter was trained, and the lineage says so."""
    return lm.lineage.then(LineageStage(folder.name, "unknown", "", {"adapter": folder.name}))


def _base_of(lineage: Lineage, given: str | None, trained: bool) -> tuple[str | None, str]:
    if given:
        return given, ""
    if not trained:
        return None, "" if lineage.stages and lineage.stages[0].job == "base" else "its lineage isn't known"
    first = lineage.stages[0]
    if first.job != "base":
        return None, "" if first.job not in TAKEN else "where it came from isn't known; give it with --base"
    if first.name in BASES and BASES[first.name].path.exists():
        return first.name, ""
    return None, f"its base {first.name} isn't on this machine; give it with --base"
