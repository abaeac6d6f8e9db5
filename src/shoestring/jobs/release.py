"""Give a model to others with all that speaks for it: exports and their proofs, the card, evaluations,
audits, the bill; and nothing while a gate is closed that nobody overrode in words."""

import dataclasses
import datetime
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from rich.console import Console

from shoestring.jobs.export import PeerSettings
from shoestring.lm import LanguageModel, weights_sha256
from shoestring.model_files import model_folder
from shoestring.models.parameters import count_parameters
from shoestring.provenance.naming import duties_of, proper_name
from shoestring.release.adapter import is_adapter
from shoestring.release.bundle import CARD, copy_evidence, write_manifest
from shoestring.release.card import Described, card
from shoestring.release.evidence import Evidence, gather
from shoestring.release.export import export, refuse_existing
from shoestring.release.gates import Candidate, Gate, gates, read_overrides, refuse
from shoestring.release.proof import Proof
from shoestring.release.receipts import check_unit
from shoestring.release.source import Source, open_source
from shoestring.run.files import saving

Form = Literal["hf", "gguf"]


class ReleaseSettings(PeerSettings):
    model: str
    output: Path
    name: str = ""  # that it is given to others under; "": its own
    format: tuple[Form, ...] = Field(default=("hf", "gguf"), min_length=1)
    type: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] | None = None  # of a GGUF file
    licence: str = ""  # SPDX; "": its base's
    base: str | None = None  # what it was trained from; None: as its lineage says
    evals: tuple[Path, ...] = ()  # evaluations beside those of the run that made it
    audits: tuple[Path, ...] = ()
    override: tuple[str, ...] = ()  # GATE=REASON
    tokens: int = Field(default=16, ge=1, le=256)


def main(settings: ReleaseSettings, console: Console) -> dict[str, Any]:
    refuse_existing(settings.output)
    overrides = read_overrides(settings.override)
    readers = settings.find()

    def say(text: str) -> None:
        console.print(text, markup=False, style="dim")

    source = open_source(settings.model, settings.base)
    source.lm.name = settings.name or proper_name(source.lm.name, duties_of(source.lm.lineage))
    weights = weights_of(source)
    evidence = gather(_folder_of(settings.model), weights, settings.evals, settings.audits, check_unit)
    _refuse_early(settings, source, evidence, weights, overrides)
    part = settings.output.with_name(f".{settings.output.name}.release")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with saving(settings.output):
            part.mkdir(parents=True)
        proofs: dict[str, Proof] = {}
        for form in dict.fromkeys(settings.format):
            kind = settings.type if form == "gguf" else None
            proofs[form] = export(source, part / form, form, kind, settings.tokens, readers, say)
        described = _described(settings, source, evidence, proofs, part)
        found = _gates(described, proofs, weights, overrides)
        refuse(found)
        with saving(settings.output):
            _finish(part, described, found, proofs, source.lm)
            part.rename(settings.output)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for gate in found:
        state = "open" if gate.open else f"overridden ({gate.override})"
        console.print(f"  {gate.name}: {state}: {gate.why}", markup=False)
    console.print(f"{settings.output}: released as {described.name}", markup=False)
    return {
        "output": str(settings.output),
        "name": described.name,
        "gates": [dataclasses.asdict(gate) for gate in found],
    }


def _folder_of(model: str) -> Path | None:
    """The model's folder; of an adapter that of the stage that made it; None for a file or a base."""
    path = Path(model)
    if not path.is_dir():
        return None
    return path.parent if is_adapter(path) else model_folder(path)


def _refuse_early(
    settings: ReleaseSettings,
    source: Source,
    evidence: Evidence,
    weights: frozenset[str],
    overrides: dict[str, str],
) -> None:
    """An export takes a while: what no export can change is looked at first."""
    described = _described(settings, source, evidence, {}, settings.output)
    found = _gates(described, {}, weights, overrides)
    refuse([gate for gate in found if gate.name not in ("proof", "peer")])


def weights_of(source: Source) -> frozenset[str]:
    """As an audit may have seen them: as they are stored, or in bfloat16."""
    lm = source.lm
    hashes = {weights_sha256(lm)}
    if source.stored is not torch.bfloat16:
        hashes.add(_rounded_sha256(lm))
    return frozenset(hashes)


def _rounded_sha256(lm: LanguageModel) -> str:
    kept = [(tensor, tensor.clone()) for _, tensor in lm.network.public_tensors()]
    try:
        for name, tensor in lm.network.public_tensors():
            if not name.endswith("e_score_correction_bias"):
                tensor.copy_(tensor.to(torch.bfloat16))
        return weights_sha256(lm)
    finally:
        for tensor, before in kept:
            tensor.copy_(before)


def _described(
    settings: ReleaseSettings, source: Source, evidence: Evidence, proofs: dict[str, Proof], part: Path
) -> Described:
    lm = source.lm
    files = {"hf": "hf"} if "hf" in settings.format else {}
    if "gguf" in proofs:
        files["gguf"] = f"gguf/{next((part / 'gguf').glob('*.gguf')).name}"
    return Described(
        name=lm.name,
        lineage=lm.lineage,
        licence=settings.licence or lm.lineage.licence,
        parameters=count_parameters(lm.config).total,
        window=lm.config.max_position_embeddings,
        chat=lm.template.source is not None,
        mtp_left_out=bool(lm.config.num_nextn_predict_layers) and "gguf" in settings.format,
        proofs={form: [*proof.notes, *proof.lines()] for form, proof in proofs.items()},
        files=files,
        evidence=evidence,
    )


def _gates(
    described: Described, proofs: dict[str, Proof], weights: frozenset[str], overrides: dict[str, str]
) -> list[Gate]:
    candidate = Candidate(
        name=described.name,
        card=card(described, []),
        lineage=described.lineage,
        licence=described.licence,
        weights=weights,
        proofs={form: (proof.passed, proof.not_checked) for form, proof in proofs.items()},
        evidence=described.evidence,
    )
    return gates(candidate, overrides)


def _finish(
    part: Path, described: Described, found: list[Gate], proofs: dict[str, Proof], lm: LanguageModel
) -> None:
    """The card lies beside each export too, which is then whole without the rest."""
    text = card(described, found)
    for form, proof in proofs.items():
        (part / form / CARD).write_text(text, encoding="utf-8")
        proof.save(part / form)
    (part / CARD).write_text(text, encoding="utf-8")
    lm.lineage.save(part)
    copy_evidence(described.evidence, part)
    versions = next(iter(proofs.values())).versions
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_manifest(part, described.name, made, versions, found, list(proofs))
