"""Give a model away: as a Hugging Face folder or a GGUF file, with the proof that it is the model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.provenance.naming import duties_of, proper_name
from shoestring.release.export import export, refuse_existing
from shoestring.release.llama_cpp import LlamaCpp
from shoestring.release.peers import find_transformers
from shoestring.release.prove import Readers
from shoestring.release.source import open_source
from shoestring.settings import Settings


class PeerSettings(Settings):
    """Where the readers that aren't ours are; None: in this environment, if at all."""

    transformers: str | None = None  # a Python that has it
    llama_cpp: str | None = None  # llama-server, or a Python that has xllamacpp
    threads: int = Field(default=1, ge=1)  # of llama.cpp, whose threads wait busily for each other

    def find(self) -> Readers:
        """Raises BadInput where what is given isn't one."""
        return Readers(find_transformers(self.transformers), LlamaCpp.find(self.llama_cpp), self.threads)


class ExportSettings(PeerSettings):
    model: str  # a folder, stage, run, .gguf file, base's name, or a LoRA adapter's folder
    format: Literal["hf", "gguf"]
    output: Path
    type: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] | None = None  # of a GGUF file; None: as it is stored
    base: str | None = None  # what it was trained from; None: as its lineage says
    tokens: int = Field(default=16, ge=1, le=256)  # greedy ones that the proof makes after each prompt


def main(settings: ExportSettings, console: Console) -> dict[str, Any]:
    if settings.format == "hf" and settings.type is not None:
        raise BadInput(
            f"--type {settings.type} is for --format gguf; an HF folder keeps the model's own precision"
        )
    refuse_existing(settings.output)
    readers = settings.find()
    source = open_source(settings.model, settings.base)

    def say(text: str) -> None:
        console.print(text, markup=False, style="dim")

    name_for_others(source.lm, say)
    proof = export(source, settings.output, settings.format, settings.type, settings.tokens, readers, say)
    for text in [*proof.notes, *proof.lines()]:
        console.print(text, markup=False)
    console.print(f"{settings.output}: proven to be {proof.model}", markup=False)
    kept = ("verdict", "format", "type", "not_checked", "notes", "files")
    return {"output": str(settings.output), **{name: proof.to_json()[name] for name in kept}}


def name_for_others(lm: LanguageModel, say: Callable[[str], None]) -> None:
    """An export is made to be given away, so it has the name that the terms of what reached it ask for."""
    duties = duties_of(lm.lineage)
    for duty in duties:
        say(f"when it is given to others: {duty}")
    if (name := proper_name(lm.name, duties)) != lm.name:
        say(f"exported as {name}: the terms of what {lm.name} was made from ask for it")
        lm.name = name
