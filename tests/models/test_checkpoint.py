"""Folders written by transformers load here, folders written here load in transformers, with the same
logits."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from shoestring.errors import BadInput
from shoestring.models.checkpoint import load_checkpoint, write_checkpoint
from shoestring.models.transformer import Transformer

SCALED = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
COMMON = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
LLAMA, QWEN2, QWEN3 = (
    (LlamaConfig, LlamaForCausalLM),
    (Qwen2Config, Qwen2ForCausalLM),
    (Qwen3Config, Qwen3ForCausalLM),
)
GQA, MHA = (
    {"num_attention_heads": 4, "num_key_value_heads": 2},
    {"num_attention_heads": 6, "num_key_value_heads": 6},
)
MODELS = {
    "llama-gqa-tied": (LLAMA, GQA | {"tie_word_embeddings": True}),
    "llama-mha-biases": (LLAMA, MHA | {"attention_bias": True, "mlp_bias": True}),
    "llama-scaled-rope": (LLAMA, GQA | {"rope_parameters": SCALED, "head_dim": 16}),
    "llama-linear-rope": (
        LLAMA,
        GQA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e4, "factor": 4.0}},
    ),
    "qwen2-tied": (QWEN2, GQA | {"tie_word_embeddings": True}),
    "qwen2-untied": (QWEN2, MHA | {"rms_norm_eps": 1e-3}),
    "qwen2-theta": (
        QWEN2,
        {"num_attention_heads": 4, "num_key_value_heads": 1}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ),
    "qwen3-tied": (QWEN3, GQA | {"head_dim": 24, "tie_word_embeddings": True}),
    "qwen3-untied": (QWEN3, MHA | {"head_dim": 8}),
    "qwen3-biases": (QWEN3, GQA | {"head_dim": 12, "attention_bias": True}),
}


def reference(name: str, seed: int = 0):
    """A random model of transformers, norms and biases random too, so that each of them matters."""
    (config_class, model_class), options = MODELS[name]
    torch.manual_seed(seed)
    model = model_class(config_class(**COMMON, **options)).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 1:
                p.normal_(1.0 if "norm" in key else 0.0, 0.3)
    return model


def logits(network: Transformer, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network.head(network(ids, torch.arange(ids.shape[1]).expand(ids.shape)).hidden)


def reference_logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(ids).logits


IDS = torch.randint(0, 97, (2, 50), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_transformers_both_ways(name, tmp_path):
    model = reference(name)
    expected = reference_logits(model, IDS)
    assert expected.std() > 0.5  # else 1e-4 would say little
    model.save_pretrained(tmp_path / "theirs")
    network = load_checkpoint(tmp_path / "theirs", torch.float32, "cpu")
    assert (logits(network, IDS) - expected).abs().max() <= 1e-4

    write_checkpoint(network, tmp_path / "ours")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    assert (reference_logits(back, IDS) - expected).abs().max() <= 1e-4
    again = load_checkpoint(tmp_path / "ours", torch.float32, "cpu")
    assert torch.equal(logits(again, IDS), logits(network, IDS))


def test_rope_scaling_is_applied(tmp_path):
    """The scaled model's logits are far from the unscaled one's, so the test above has seen the scaling."""
    model = reference("llama-scaled-rope")
    model.save_pretrained(tmp_path)
    edit_config(tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    network = load_checkpoint(tmp_path, torch.float32, "cpu")
    assert (logits(network, IDS) - reference_logits(model, IDS)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama-gqa-tied", "qwen3-untied"])
def test_shards_both_ways(name, tmp_path):
    model = reference(name)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="40KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    network = load_checkpoint(tmp_path / "theirs", torch.float32, "cpu")
    write_checkpoint(network, tmp_path / "ours", shard_bytes=40_000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 1
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    assert (reference_logits(back, IDS) - reference_logits(model, IDS)).abs().max() <= 1e-4

    write_checkpoint(network, tmp_path / "ours")  # over the shards: none of them is left
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(
        logits(load_checkpoint(tmp_path / "ours", torch.float32, "cpu"), IDS), logits(network, IDS)
    )


def test_bfloat16_is_kept_to_the_bit(tmp_path):
    reference("qwen2-untied").to(torch.bfloat16).save_pretrained(tmp_path / "theirs")
    network = load_checkpoint(tmp_path / "theirs", torch.bfloat16, "cpu")
    assert network.inv_freq.dtype == torch.float32
    write_checkpoint(network, tmp_path / "ours")
    theirs = load_file(tmp_path / "theirs" / "model.safetensors")
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == torch.bfloat16
        assert torch.equal(ours[name], tensor), name
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_tied_folder_may_carry_an_equal_head(tmp_path):
    model = reference("llama-gqa-tied")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in tensors
    rewrite(tmp_path, {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    network = load_checkpoint(tmp_path, torch.float32, "cpu")
    assert (logits(network, IDS) - reference_logits(model, IDS)).abs().max() <= 1e-4
    rewrite(tmp_path, {"lm_head.weight": tensors["model.embed_tokens.weight"] + 1})
    with pytest.raises(BadInput, match=r"lm_head.weight differs from model.embed_tokens.weight"):
        load_checkpoint(tmp_path, torch.float32, "cpu")


def test_old_style_folder(tmp_path):
    """transformers 4 wrote rope_theta and rope_scaling at the top, and kept frequency buffers in Llama's
    files."""
    model = reference("llama-scaled-rope")
    model.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    del raw["rope_parameters"]
    scaling = {k: v for k, v in SCALED.items() if k != "rope_theta"}
    raw |= {"rope_theta": 10000.0, "rope_scaling": scaling, "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    rewrite(tmp_path, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    network = load_checkpoint(tmp_path, torch.float32, "cpu")
    assert (logits(network, IDS) - reference_logits(model, IDS)).abs().max() <= 1e-4


def test_end_ids_of_generation_config_are_added(tmp_path):
    reference("qwen2-tied").save_pretrained(tmp_path)
    edit_config(tmp_path, eos_token_id=5)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 5]}')
    assert load_checkpoint(tmp_path, torch.float32, "cpu").config.eos_token_id == (5, 7)


# ------------------------------------------------------------ what can't be read


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    reference("llama-mha-biases").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def edit_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def rewrite(folder, more=None, drop=()):
    tensors = load_file(folder / "model.safetensors")
    tensors = {k: v for k, v in tensors.items() if k not in drop} | (more or {})
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refusal(folder) -> str:
    with pytest.raises(BadInput) as caught:
        load_checkpoint(folder, torch.float32, "cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported; supported: llama, qwen2, qwen3"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps = nan must be a finite number above 0"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps = -1e-05"),
        ({"hidden_size": "many"}, "a value is of the wrong kind"),
        ({"hidden_size": None}, "a value is of the wrong kind"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0 must be at least 1"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0 must be at least 1"),
        ({"num_key_value_heads": 4}, "num_attention_heads 6 is not a multiple of num_key_value_heads 4"),
        (
            {"rope_parameters": {"rope_type": "longrope", "factor": 2.0}},
            "rope type 'longrope' is not supported",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
            "lacks 'original_max_position_embeddings'",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}},
            "lacks 'original_max_position_embeddings'",
        ),
        ({"rope_parameters": {"rope_type": "linear", "factor": float("inf")}}, "factor = inf"),
        ({"rope_parameters": {"rope_theta": 0.0}}, "rope_theta = 0.0"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised weights"),
        ({"hidden_size": 42}, "wrong shape: model.embed_tokens.weight is 97 x 48, should be 97 x 42"),
        ({"num_hidden_layers": 3}, "missing: model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1}, "not part of this model: model.layers.1."),
        ({"mlp_bias": False}, "not part of this model: model.layers.0.mlp."),
    ],
)
def test_config_that_does_not_fit(folder, values, says):
    edit_config(folder, **values)
    assert says in refusal(folder)


def test_missing_keys_and_files(folder):
    raw = json.loads((folder / "config.json").read_text())
    del raw["vocab_size"]
    (folder / "config.json").write_text(json.dumps(raw))
    assert "lacks 'vocab_size'" in refusal(folder)
    (folder / "config.json").write_text('{"model_type":')
    assert "is not valid JSON" in refusal(folder)
    (folder / "config.json").unlink()
    assert "can't read" in refusal(folder)


def test_weights_that_are_half_there(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "cut short" in refusal(folder)
    path.write_bytes(b"not a tensor file at all" * 10)
    assert "not a safetensors file" in refusal(folder)
    path.unlink()
    assert "has no model.safetensors" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert "pytorch_model.bin is a pickle" in refusal(folder)


def test_tensors_that_do_not_fit(folder):
    rewrite(folder, drop=["lm_head.weight"])
    assert "lm_head.weight is missing and config.json doesn't say tie_word_embeddings" in refusal(folder)
    rewrite(folder, {"lm_head.weight": torch.full((97, 48), torch.nan)})
    assert "tensor lm_head.weight holds NaN or infinite numbers" in refusal(folder)
    rewrite(folder, {"lm_head.weight": torch.zeros(97, 48, dtype=torch.int8)})
    assert "lm_head.weight is I8; quantised safetensors aren't supported" in refusal(folder)
    rewrite(
        folder, {"lm_head.weight": torch.zeros(97, 48), "stray": torch.zeros(1)}, drop=["model.norm.weight"]
    )
    assert "missing: model.norm.weight; not part of this model: stray" in refusal(folder)


def test_shards_that_do_not_fit(folder):
    model = reference("llama-mha-biases")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    index = folder / "model.safetensors.index.json"
    raw = json.loads(index.read_text())
    first = raw["weight_map"]["model.norm.weight"]
    index.write_text(json.dumps({"weight_map": raw["weight_map"] | {"model.norm.weight": "../../etc/x"}}))
    assert "points outside of its folder" in refusal(folder)
    others = [v for v in raw["weight_map"].values() if v != first]
    index.write_text(json.dumps({"weight_map": raw["weight_map"] | {"model.norm.weight": others[0]}}))
    assert "missing: model.norm.weight" in refusal(folder)
    index.write_text(json.dumps(raw))
    (folder / first).unlink()
    assert f"lacks {first}" in refusal(folder)
    index.write_text("{}")
    assert "has no weight_map" in refusal(folder)


def test_a_failed_write_leaves_the_old_weights(folder, monkeypatch):
    """A full disk in the middle of a save: no half file under the real name, the old one still loads."""
    before = (folder / "model.safetensors").read_bytes()
    network = load_checkpoint(folder, torch.float32, "cpu")
    monkeypatch.setattr(torch.Tensor, "flatten", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(network, folder)
    monkeypatch.undo()
    assert (folder / "model.safetensors").read_bytes() == before
    assert not list(folder.glob("*.part"))


def full_disk(*_):
    raise OSError(28, "No space left on device")
