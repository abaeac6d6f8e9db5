"""Whether what was written is the model: it is read back, by us and by others, and compared."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import torch

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel, load
from shoestring.release.adapter import Adapter, applied, merge
from shoestring.release.gguf_tensors import as_read_back, inner_name
from shoestring.release.gguf_write import GGUFType
from shoestring.release.llama_cpp import LlamaCpp
from shoestring.release.peers import read_with_llama_cpp, read_with_transformers
from shoestring.release.prompts import Questions, questions
from shoestring.release.proof import EXACT, ROUNDED, Against, Limits, Proof, faults_of, limits_for, looser
from shoestring.release.reading import Reading, apart, read_texts, read_with
from shoestring.release.source import Source
from shoestring.release.weights import changed_tensors, weights_apart

Format = Literal["hf", "gguf"]
PACKAGES = ("shoestring", "torch", "safetensors", "tokenizers", "gguf")


@dataclass(frozen=True)
class Readers:
    """transformers: a Python that has it; None where none is at hand."""

    transformers: str | None
    llama_cpp: LlamaCpp | None
    threads: int


def prove(
    source: Source,
    file: Path,
    form: Format,
    kind: GGUFType,
    asked: Questions,
    model: Reading,
    readers: Readers,
    say: Callable[[str], None],
) -> Proof:
    lm = source.lm
    say("reading it back")
    back = load(file, dtype="float32")
    as_read = None if form == "hf" else lambda name, tensor: as_read_back(lm.config, inner_name(name), tensor)
    weights = weights_apart(lm.network, back.network, as_read)
    limits = limits_for(kind, weights.exact)
    own = read_with(back, asked, model.tokens)
    own.faults += _reads_otherwise(back, asked)
    rows = [row.topk(2).values for row in model.rows if isinstance(row, torch.Tensor)]
    proof = Proof(
        model=lm.name,
        format=form,
        type=kind,
        trained=source.trained,
        prompts=len(asked.asked),
        skipped=asked.skipped,
        tokens_each=asked.tokens,
        chat=asked.chat,
        prompts_sha256=asked.sha256,
        prompt_ids=[one.ids for one in asked.asked],
        tokens=model.tokens,
        gaps=[[round(float(gap), 4) for gap in best[:, 0] - best[:, 1]] for best in rows],
        weights=weights,
        versions={name: _version(name) for name in PACKAGES},
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    proof.faults += weights.faults(limits.weights, lm.config.num_hidden_layers)
    _add(proof, model, own, limits)
    _against_base(proof, source, back, asked, model, own)
    if source.adapter is not None:
        _against_adapter(proof, source, source.adapter, asked, model)
    del back
    _ask_peer(proof, file, form, kind, asked, model, readers, limits, lm, say)
    return proof


def _add(proof: Proof, model: Reading, reading: Reading, limits: Limits) -> None:
    found = apart(model, reading)
    proof.readers.append(found)
    proof.faults += faults_of(found, limits)


def _reads_otherwise(back: LanguageModel, asked: Questions) -> list[str]:
    again = questions(back, asked.tokens, [one.said for one in asked.asked])
    if [one.ids for one in again.asked] == [one.ids for one in asked.asked]:
        return []
    return ["its tokenizer or template makes other ids of the prompts"]


def _against_base(
    proof: Proof, source: Source, back: LanguageModel, asked: Questions, model: Reading, own: Reading
) -> None:
    """An export must not be the base, if the model isn't."""
    if source.base is None:
        if source.why_no_base:
            proof.not_checked.append(f"against its base: {source.why_no_base}")
        return
    try:
        base = load(source.base, dtype="float32")
    except BadInput as error:
        proof.not_checked.append(f"against its base: {error}")
        return
    if base.config.vocab_size != source.lm.config.vocab_size:
        proof.not_checked.append(f"against its base: {source.base} has another vocabulary")
        return
    read = read_with(base, asked, model.tokens)
    changed = changed_tensors(back.network, base.network)
    found = Against(source.base, changed, apart(read, own).kl_mean, apart(model, own).kl_mean)
    proof.against = found
    proof.faults += found.faults()


def _against_adapter(
    proof: Proof, source: Source, adapter: Adapter, asked: Questions, model: Reading
) -> None:
    """The adapter merged into its base, in float32, against the adapter applied apart from it; and the
    model's weights against the merged ones."""
    try:
        base = load(adapter.base if source.base is None else source.base, dtype="float32")
    except BadInput as error:
        proof.not_checked.append(f"against its adapter: {error}")
        return
    with applied(base.network, adapter):
        unmerged = read_texts(base, asked, model.tokens)
    unmerged.reader = "the base with its adapter"
    merge(base.network, adapter)
    proof.adapter = apart(read_texts(base, asked, model.tokens), unmerged)
    proof.faults += faults_of(proof.adapter, EXACT)
    weights = weights_apart(base.network, source.lm.network)
    told = weights.faults(ROUNDED.weights, source.lm.config.num_hidden_layers)
    proof.faults += [f"the model isn't its base with its adapter: {fault}" for fault in told]


def _ask_peer(
    proof: Proof,
    file: Path,
    form: Format,
    kind: GGUFType,
    asked: Questions,
    model: Reading,
    readers: Readers,
    limits: Limits,
    lm: LanguageModel,
    say: Callable[[str], None],
) -> None:
    if form == "hf":
        if readers.transformers is None:
            proof.not_checked.append("with transformers: not installed here (--transformers PYTHON)")
            return
        say("reading it with transformers")
        read = read_with_transformers(readers.transformers, file, asked, model.tokens)
        _add(proof, model, read, limits)
        return
    if readers.llama_cpp is None:
        proof.not_checked.append("with llama.cpp: not installed here (--llama-cpp PROGRAM)")
        return
    say("reading it with llama.cpp")
    cache = "f32" if kind == "f32" else "f16"
    program, threads = readers.llama_cpp, readers.threads
    read = read_with_llama_cpp(program, file, asked, model.tokens, lm.tokenizer, threads, cache)
    _add(proof, model, read, limits if kind == "f32" else looser(limits))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
