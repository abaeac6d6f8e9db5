"""The kinds of model that the recipes make, both ways, in the readers that others use."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from releases import V3, known_tokenizer
from shoestring.lm import LanguageModel
from shoestring.models.bases import BASES
from shoestring.models.presets import from_width
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage, Origin, Stage
from shoestring.release.export import export
from shoestring.release.llama_cpp import LlamaCpp
from shoestring.release.peers import find_transformers
from shoestring.release.prove import Readers
from shoestring.release.source import open_source
from shoestring.text.template import Template
from tiny import CHATML
from training_runs import run, sft_settings

pytestmark = pytest.mark.slow
TAUGHT = Stage("tiny-v3", "pretrain", "2026-02-01", {"steps": 40}, (Origin("random", "CC0-1.0"),))


def readers() -> Readers:
    return Readers(find_transformers(None), LlamaCpp.find(os.environ.get("LLAMA_PYTHON")), 1)


def quiet(text: str) -> None:
    del text


def both_ways(model: Path, folder: Path, kinds: tuple[str, ...], tokens: int) -> None:
    peers = readers()
    source = open_source(str(model), None)
    hf = export(source, folder / "hf", "hf", None, tokens, peers, quiet)
    assert hf.readers[1].reader.startswith("transformers")
    assert hf.readers[1].differences == ()
    for kind in kinds:
        found = export(source, folder / kind, "gguf", kind, tokens, peers, quiet)  # type: ignore[arg-type]
        assert found.passed
        assert found.weights.exact == (kind == "bf16")
        if peers.llama_cpp is not None:
            assert found.readers[1].reader.startswith("llama.cpp")
            assert found.readers[1].faults == ()
    if peers.llama_cpp is None:
        pytest.skip("transformers made the same tokens; no llama.cpp here (LLAMA_PYTHON)")


@pytest.mark.base
def test_smollm2_after_a_few_steps(tmp_path):
    if not BASES["smollm2-135m"].path.exists():
        pytest.skip("shoestring get smollm2-135m")
    settings = sft_settings(Path("smollm2-135m"), steps=3, optim={"learning_rate": 1e-3}, dtype="bfloat16")
    run(settings, tmp_path / "sft")
    both_ways(tmp_path / "sft", tmp_path, ("bf16", "q8_0"), 4)


def test_tiny_v3(tmp_path):
    """It knows eight texts by heart, so that rounding decides few tokens of theirs."""
    tokenizer = known_tokenizer()
    config = dataclasses.replace(
        from_width(128, tokenizer.vocab_size), eos_token_id=V3.eos_token_id, bos_token_id=None
    )
    network = Transformer(config)
    network.init_weights(0)
    texts = torch.randint(3, 250, (8, 64), generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        hidden = network(texts, torch.arange(64).expand(8, -1)).hidden
        loss = F.cross_entropy(network.head(hidden[:, :-1]).flatten(0, 1), texts[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.to(torch.bfloat16)
    template = Template(tokenizer, CHATML, V3.eos_token_id)
    LanguageModel(network, tokenizer, template, config, Lineage((TAUGHT,)), "tiny-v3").save(tmp_path / "m")
    both_ways(tmp_path / "m", tmp_path, ("bf16", "q8_0", "q4_0"), 4)
