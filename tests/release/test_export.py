"""An export is the model or it isn't there."""

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from releases import ALONE, CONFIGS, model_of, saved
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel, load
from shoestring.release import export as export_module
from shoestring.release.export import export
from shoestring.release.proof import PROOF_FILE, hashes
from shoestring.release.prove import Format
from shoestring.release.source import open_source
from shoestring.train.lora import Adapters, LoRASettings

SAID: list[str] = []


def made(model: Path | str, output: Path, form: Format = "hf", kind=None, base: Path | None = None, tokens=2):
    source = open_source(str(model), str(base) if base else None)
    return export(source, output, form, kind, tokens, ALONE, SAID.append)


@pytest.fixture
def stage(tmp_path) -> Path:
    return saved(tmp_path)


def flip(name: str):
    """After the writing: one tensor with its sign turned."""
    write = export_module._write

    def wrong(*arguments):
        file, notes = write(*arguments)
        tensors = load_file(file / "model.safetensors")
        tensors[name] = -tensors[name]
        save_file(tensors, file / "model.safetensors", metadata={"format": "pt"})
        return file, notes

    return wrong


def test_a_folder_with_its_proof(stage, tmp_path):
    proof = made(stage, tmp_path / "out", base=tmp_path / "base")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    wanted = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert wanted | {"chat_template.jinja", "lineage.json", PROOF_FILE} <= files
    assert proof.passed
    assert proof.weights.exact
    kept = json.loads((tmp_path / "out" / PROOF_FILE).read_text())
    assert kept["verdict"] == "passed"
    assert kept["files"] == hashes(tmp_path / "out")
    assert (kept["prompts"], kept["skipped"], kept["type"]) == (32, 0, "bf16")
    assert kept["against"]["tensors"] == 20
    assert kept["against"]["kl_base"] > 0.01 > kept["against"]["kl_model"]
    assert kept["not_checked"][-1].startswith("with transformers")
    assert load(tmp_path / "out").dtype in (torch.bfloat16, torch.float32)
    assert proof.model == "zero"  # the stage's name, not "model"


def test_float32_stays_float32(tmp_path):
    stage = saved(tmp_path, dtype=torch.float32)
    assert made(stage, tmp_path / "out").type == "f32"
    assert load_file(tmp_path / "out/model.safetensors")["model.norm.weight"].dtype is torch.float32


@pytest.mark.parametrize("name", ["model.layers.1.mlp.experts.5.up_proj.weight", "model.norm.weight"])
def test_one_flipped_tensor_fails_the_proof(tmp_path, monkeypatch, name):
    stage = saved(tmp_path, "v3-one-group")
    monkeypatch.setattr(export_module, "_write", flip(name))
    with pytest.raises(ShoestringError, match=r"isn't the model, and was thrown away") as caught:
        made(stage, tmp_path / "out")
    assert name in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "zero"]


def test_a_flip_shows_in_the_tokens_too(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "_write", flip("model.layers.0.mlp.down_proj.weight"))
    with pytest.raises(ShoestringError, match="mean KL"):
        made(stage, tmp_path / "out")


def test_an_export_that_equals_the_base_fails(stage, tmp_path):
    shutil.rmtree(stage / "model")
    shutil.copytree(tmp_path / "base", stage / "model")
    lineage = model_of(CONFIGS["llama"]).lineage
    lineage.save(stage / "model")  # it says that it was trained
    with pytest.raises(ShoestringError, match="no nearer to the model than to its base"):
        made(stage, tmp_path / "out", base=tmp_path / "base")


def test_a_base_that_is_not_at_hand_is_said(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path / "empty"))
    proof = made(stage, tmp_path / "out")
    assert proof.not_checked[0] == (
        "against its base: its base smollm2-135m isn't on this machine; give it with --base"
    )


def test_a_base_with_another_vocabulary_is_said(stage, tmp_path):
    other = model_of(CONFIGS["llama"])
    config = {**vars(other.config), "vocab_size": 300}
    model_of(type(other.config)(**config)).save(tmp_path / "other")
    proof = made(stage, tmp_path / "out", base=tmp_path / "other")
    assert "has another vocabulary" in proof.not_checked[0]


@pytest.mark.parametrize(("kind", "error"), [("q8_0", 0.02), ("q4_0", 0.2)])
def test_quantised_with_figures(stage, tmp_path, kind, error):
    proof = made(stage, tmp_path / "out", "gguf", kind, tmp_path / "base")
    assert 0 < proof.weights.worst < error
    assert proof.readers[0].kl_mean > 0
    assert proof.notes[0].startswith("tensors by type: ")
    assert (tmp_path / f"out/zero-{kind.upper()}.gguf").exists()
    assert (tmp_path / "out/lineage.json").exists()


def test_a_small_window_has_fewer_prompts_and_says_so(tmp_path):
    stage = saved(tmp_path, max_position_embeddings=50)
    proof = made(stage, tmp_path / "out")
    assert proof.prompts + proof.skipped == 32
    assert proof.skipped > 3
    assert "too long for the window" in proof.lines()[0]
    with pytest.raises(BadInput, match="no room for any of the proof's prompts"):
        made(saved(tmp_path / "b", max_position_embeddings=20), tmp_path / "out2")


def test_what_exists_is_left_alone(stage, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match="exists already"):
        made(stage, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_is_too_small_is_seen_first(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ShoestringError, match=r"it needs 0.00 GB and 0.00 GB are free"):
        made(stage, tmp_path / "out")


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_a_disk_that_fills_leaves_nothing(stage, tmp_path, monkeypatch, form):
    def full(self, folder, *_):
        (Path(folder) / "half").write_bytes(b"x") if form == "hf" else None
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LanguageModel, "save", full)
    monkeypatch.setattr("gguf.GGUFWriter.write_tensor_data", full)
    with pytest.raises(ShoestringError, match=r"(the disk is full|No space left)"):
        made(stage, tmp_path / "out", form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "zero"]


def test_no_model_at_all(tmp_path):
    with pytest.raises(BadInput, match="no model"):
        made(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="is not a model"):
        made(tmp_path / "empty", tmp_path / "out")


def test_a_model_without_lineage_is_exported_and_says_so(stage, tmp_path):
    (stage / "model/lineage.json").unlink()
    proof = made(stage, tmp_path / "out")
    assert not proof.trained
    assert proof.not_checked[0] == "against its base: its lineage isn't known"


def trained_adapter(folder: Path, base: Path) -> None:
    lm = load(base, dtype="float32")
    adapters = Adapters(lm.network, LoRASettings(rank=4), seed=0)
    with torch.no_grad():
        for _, factors in adapters.found:
            factors.B.normal_(0, 0.3, generator=torch.Generator().manual_seed(5))
    adapters.merge()
    adapters.save(folder, str(base))


def test_an_adapter_is_merged_and_proven(stage, tmp_path):
    trained_adapter(stage / "adapter", tmp_path / "base")
    proof = made(stage / "adapter", tmp_path / "out")
    assert proof.adapter is not None
    assert proof.adapter.kl_mean < 1e-6
    assert proof.against is not None
    assert proof.against.kl_base > 0.1
    merged, base = load(tmp_path / "out", dtype="float32"), load(tmp_path / "base", dtype="float32")
    assert not torch.equal(merged.logits([[5, 6, 7]]), base.logits([[5, 6, 7]]))


def test_a_merge_that_lost_the_adapter_fails(stage, tmp_path):
    """The stage's model isn't what its adapter makes of the base."""
    trained_adapter(stage / "adapter", tmp_path / "base")
    with pytest.raises(ShoestringError, match="the model isn't its base with its adapter: tensor"):
        made(stage, tmp_path / "out")


def test_adapters_that_are_not_plain_lora(stage, tmp_path):
    trained_adapter(tmp_path / "a", tmp_path / "base")
    file = tmp_path / "a/adapter_config.json"
    raw = json.loads(file.read_text())
    for change, said in (
        ({"use_dora": True}, "use_dora is not supported"),
        ({"peft_type": "IA3"}, "only LoRA"),
        ({"base_model_name_or_path": "/nowhere"}, "give its base with --base"),
        ({"base_model_name_or_path": ""}, "give it with --base"),
    ):
        file.write_text(json.dumps({**raw, **change}))
        with pytest.raises(BadInput, match=said):
            made(tmp_path / "a", tmp_path / "out")
