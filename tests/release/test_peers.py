"""The readers that aren't ours: every architecture in transformers and in llama.cpp, tokens and distributions
the model's. llama.cpp: `llama-server` on the PATH, or the package xllamacpp of this Python or of the one that
LLAMA_PYTHON names; skipped where there is none."""

import os

import pytest
import torch

from releases import ALONE, CONFIGS, model_of
from shoestring.errors import BadInput, ShoestringError
from shoestring.release.export import export
from shoestring.release.llama_cpp import LlamaCpp
from shoestring.release.peers import find_transformers
from shoestring.release.prove import Readers
from shoestring.release.source import Source

IN_TRANSFORMERS = [name for name in CONFIGS if name not in ("v3-dense", "v3-halves-whole-queries")]


def source_of(name: str) -> Source:
    lm = model_of(CONFIGS[name])
    return Source(lm, torch.float32, False, None, "")


def llama_cpp() -> LlamaCpp:
    found = LlamaCpp.find(os.environ.get("LLAMA_PYTHON"))
    if found is None:
        pytest.skip("no llama.cpp here: llama-server on the PATH, or LLAMA_PYTHON with xllamacpp")
    return found


def quiet(text: str) -> None:
    del text


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_transformers_makes_the_same_tokens(tmp_path, name):
    readers = Readers(find_transformers(None), None, 1)
    proof = export(source_of(name), tmp_path / "hf", "hf", None, 4, readers, quiet)
    theirs = proof.readers[1]
    assert theirs.reader.startswith("transformers")
    assert theirs.differences == ()
    assert theirs.kl_max < 1e-5
    assert proof.not_checked == ["against its base: its lineage isn't known"] or not proof.not_checked


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_llama_cpp_makes_the_same_tokens(tmp_path, name):
    readers = Readers(None, llama_cpp(), 1)
    proof = export(source_of(name), tmp_path / "gguf", "gguf", "f32", 2, readers, quiet)
    theirs = proof.readers[1]
    assert theirs.reader.startswith("llama.cpp")
    assert theirs.differences == ()
    assert theirs.kl_max < 1e-5
    assert theirs.faults == ()  # the same ids by its own tokenizer and template


@pytest.mark.slow
def test_llama_cpp_says_why_it_takes_no_file(tmp_path):
    program = llama_cpp()
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    loading = program.serving(tmp_path / "m.gguf", 64, 1, "f16")
    with pytest.raises(ShoestringError, match=r"llama.cpp doesn't load the file"), loading:
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_programs_that_are_none():
    with pytest.raises(BadInput, match="no program no-such"):
        LlamaCpp.find("no-such")
    with pytest.raises(BadInput, match="no program no-such"):
        find_transformers("no-such")
    with pytest.raises(BadInput, match="can't import it"):
        find_transformers("false")


def test_what_is_not_installed_is_said(tmp_path):
    proof = export(source_of("llama"), tmp_path / "hf", "hf", None, 1, ALONE, quiet)
    assert proof.not_checked[-1].startswith("with transformers: not installed here")
    proof = export(source_of("llama"), tmp_path / "gguf", "gguf", "f32", 1, ALONE, quiet)
    assert proof.not_checked[-1].startswith("with llama.cpp: not installed here")
