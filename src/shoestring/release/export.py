"""A model as an artefact for others: written beside its place, read back, proven to be the model, and only
then put there."""

import copy
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.models.parameters import count_parameters
from shoestring.provenance.card import provenance_card
from shoestring.release.bundle import CARD
from shoestring.release.gguf_write import GGUFType, write_gguf
from shoestring.release.prompts import questions
from shoestring.release.proof import Proof
from shoestring.release.prove import Format, Readers, prove
from shoestring.release.reading import read_with
from shoestring.release.source import Source
from shoestring.run.files import saving

BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 1.07,
    "q4_0": 0.65,
}  # a number, with blocks' scales


def export(
    source: Source,
    output: Path,
    form: Format,
    kind: GGUFType | None,
    tokens: int,
    readers: Readers,
    say: Callable[[str], None],
) -> Proof:
    """Makes the folder `output`, with a card that shows what the model's lineage asks for. Raises BadInput
    where it exists or the format can't hold the model, and ShoestringError where the proof fails or the disk
    is full; then nothing is left of it."""
    refuse_existing(output)
    lm = source.lm
    kind = kind or ("bf16" if source.stored is torch.bfloat16 else "f32")
    _refuse_small_disk(output, lm, kind)
    asked = questions(lm, tokens)
    say(f"reading {lm.name}: {len(asked.asked)} prompts")
    model = read_with(lm, asked, None)
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with saving(output):
            part.mkdir(parents=True)
            say(f"writing {form} {kind}")
            file, notes = _write(lm, part, form, kind, source.stored)
            (part / CARD).write_text(provenance_card(lm.lineage, lm.name), encoding="utf-8")
        proof = prove(source, file, form, kind, asked, model, readers, say)
        proof.notes = notes
        if not proof.passed:
            raise ShoestringError(
                f"the export isn't the model, and was thrown away: {'; '.join(proof.faults)}"
            )
        proof.save(part)
        with saving(output):
            part.rename(output)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return proof


def refuse_existing(output: Path) -> None:
    if output.exists():
        raise BadInput(f"{output} exists already: choose another --output, or remove it first")


def _refuse_small_disk(output: Path, lm: LanguageModel, kind: GGUFType) -> None:
    above = next(parent for parent in output.absolute().parents if parent.exists())
    needed = count_parameters(lm.config).total * BYTES[kind]
    free = shutil.disk_usage(above).free
    if free < needed:
        raise ShoestringError(
            f"could not save {output}: it needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; make "
            "room or choose another --output"
        )


def _write(
    lm: LanguageModel, folder: Path, form: Format, kind: GGUFType, stored: torch.dtype
) -> tuple[Path, list[str]]:
    """What `load` opens, and what must be said of it."""
    if form == "gguf":
        file = folder / f"{lm.name.rsplit('/', 1)[-1]}-{kind.upper()}.gguf"
        written = write_gguf(lm, file, kind)
        lm.lineage.save(folder)
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(written.kinds.items()))
        notes = [f"tensors by type: {kinds}", *written.notes]
        if written.widened:
            notes.append(
                f"{len(written.widened)} tensors whose rows aren't whole blocks are F16: "
                f"{', '.join(written.widened[:3])}"
            )
        return file, notes
    network = lm.network
    if network.dtype != stored:
        network = copy.deepcopy(network).to(stored)
    dataclasses.replace(lm, network=network).save(folder)
    return folder, []
