"""Folders as the public V3 checkpoint is stored: FP8 blocks with their scales, copies of embedding and head
for MTP. The reader meets folders that this file writes with plain torch, the writer must write the same."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3ForCausalLM

from shoestring.errors import BadInput
from shoestring.lm import load
from shoestring.models.checkpoint import load_checkpoint, write_checkpoint
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import config_to_hf
from shoestring.models.fp8_blocks import is_fp8_matrix
from shoestring.models.presets import PRESETS
from shoestring.models.transformer import Transformer
from tiny import tiny_lm
from tiny_v3 import tiny_v3

# 160, 200, 144 ... : blocks of 128 end in the middle of rows and columns
CONFIG = ModelConfig(
    model_type="deepseek_v3",
    vocab_size=50,
    hidden_size=160,
    intermediate_size=200,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=3,
    head_dim=48,
    q_lora_rank=136,
    kv_lora_rank=130,
    qk_nope_head_dim=32,
    qk_rope_head_dim=16,
    v_head_dim=32,
    rope_interleave=True,
    n_routed_experts=4,
    n_shared_experts=1,
    num_experts_per_tok=2,
    moe_intermediate_size=144,
    first_k_dense_replace=1,
    routed_scaling_factor=1.5,
    num_nextn_predict_layers=1,
    initializer_range=0.1,
)
QUANTIZATION = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
}
IDS = torch.randint(0, 50, (2, 20), generator=torch.Generator().manual_seed(1))
POSITIONS = torch.arange(20).expand(2, 20)


def made_network(config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float32) -> Transformer:
    network = Transformer(config)
    network.init_weights(0)
    generator = torch.Generator().manual_seed(2)
    for router in network.routers():  # a correction that bf16 would lose
        router.e_score_correction_bias.copy_(0.1 + 1e-4 * torch.randn(4, generator=generator))
    return network.to(dtype)


def in_blocks(w: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, scales, and what they stand for, block by block."""
    values, stands_for = torch.empty(w.shape, dtype=torch.float8_e4m3fn), torch.empty(w.shape)
    scales = torch.empty(-(-w.shape[0] // size), -(-w.shape[1] // size))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * size, (i + 1) * size), slice(j * size, (j + 1) * size))
            scales[i, j] = w[part].abs().max() / 448
            values[part] = (w[part] / scales[i, j]).to(torch.float8_e4m3fn)
            stands_for[part] = values[part].float() * scales[i, j]
    return values, scales, stands_for


def stored(network: Transformer, size: int = 128) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The tensors of a folder, and those that a reader must find in it."""
    folder, expected = {}, {}
    for name, tensor in network.public_tensors():
        matrix = tensor.dim() == 2 and (".self_attn." in name or ".mlp." in name)
        if matrix and not name.endswith("mlp.gate.weight"):
            folder[name], folder[name + "_scale_inv"], expected[name] = in_blocks(tensor.float(), size)
        else:
            folder[name] = expected[name] = tensor.clone()
    folder["model.layers.2.embed_tokens.weight"] = folder["model.embed_tokens.weight"].clone()
    folder["model.layers.2.shared_head.head.weight"] = folder["lm_head.weight"].clone()
    return folder, expected


def save(path, tensors, config: ModelConfig = CONFIG, **more):
    path.mkdir(exist_ok=True)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(config_to_hf(config) | more))
    return path


def refusal(folder) -> str:
    with pytest.raises(BadInput) as caught:
        load_checkpoint(folder, torch.float32, "cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size", [128, 64])
def test_blocks_are_multiplied_out(tmp_path, size):
    tensors, expected = stored(made_network(), size)
    quantization = QUANTIZATION | {"weight_block_size": [size, size]}
    network = load_checkpoint(
        save(tmp_path / "m", tensors, quantization_config=quantization), torch.float32, "cpu"
    )
    found = dict(network.public_tensors())
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    assert sum(t.dtype == torch.float8_e4m3fn for t in tensors.values()) == 3 * 5 + 3 + 2 * 5 * 3


def test_a_bfloat16_network_keeps_the_routers_bias_in_float32(tmp_path):
    tensors, expected = stored(made_network(dtype=torch.bfloat16))
    folder = save(tmp_path / "m", tensors, quantization_config=QUANTIZATION)
    network = load_checkpoint(folder, torch.bfloat16, "cpu")
    for name, tensor in network.public_tensors():
        bias = name.endswith("e_score_correction_bias")
        assert tensor.dtype == (torch.float32 if bias else torch.bfloat16), name
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name
    write_checkpoint(network, tmp_path / "ours")
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert torch.equal(ours[name], expected[name])
    assert ours[name].dtype == torch.float32


def test_what_is_written_is_what_plain_torch_writes(tmp_path):
    network = made_network(dtype=torch.bfloat16)
    expected, _ = stored(network)
    write_checkpoint(network, tmp_path, fp8=True)
    assert json.loads((tmp_path / "config.json").read_text())["quantization_config"] == QUANTIZATION
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor.float(), expected[name].float()), name


def test_fp8_shards_come_back_the_same(tmp_path):
    network = made_network(dtype=torch.bfloat16)
    write_checkpoint(network, tmp_path / "a", shard_bytes=100_000, fp8=True)
    index = json.loads((tmp_path / "a" / "model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 3
    assert files == {p.name for p in (tmp_path / "a").glob("*.safetensors")}
    sizes = [t.numel() * t.element_size() for f in files for t in load_file(tmp_path / "a" / f).values()]
    assert index["metadata"]["total_size"] == sum(sizes)
    once = load_checkpoint(tmp_path / "a", torch.float32, "cpu")
    write_checkpoint(once, tmp_path / "b", fp8=True)  # nothing is lost the second time
    again = load_checkpoint(tmp_path / "b", torch.float32, "cpu")
    for (name, first), (_, second) in zip(once.public_tensors(), again.public_tensors(), strict=True):
        assert torch.equal(first, second), name
    ours, exact = once(IDS, POSITIONS).hidden, network.float()(IDS, POSITIONS).hidden
    assert (ours - exact).norm() < 0.15 * exact.norm()


def test_an_unquantised_folder_has_no_quantization_config(tmp_path):
    write_checkpoint(made_network(), tmp_path, fp8=True)
    write_checkpoint(made_network(), tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("q_lora_rank", [136, None])
def test_transformers_reads_our_folder(tmp_path, q_lora_rank):
    network = made_network(dataclasses.replace(CONFIG, q_lora_rank=q_lora_rank))
    write_checkpoint(network, tmp_path)
    model, report = DeepseekV3ForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert all(name.startswith("model.layers.2.") for name in report["unexpected_keys"])  # MTP
    with torch.inference_mode():
        ours, theirs = network.head(network(IDS, POSITIONS).hidden), model.eval()(IDS).logits
    assert theirs.std() > 0.3
    assert (ours - theirs).abs().max() <= 1e-4


def test_names_of_fp8_matrices():
    assert is_fp8_matrix("model.layers.3.mlp.experts.17.down_proj.weight")
    assert is_fp8_matrix("model.layers.0.self_attn.kv_a_proj_with_mqa.weight")
    for name in (
        "lm_head.weight",
        "model.layers.61.eh_proj.weight",
        "model.layers.3.mlp.gate.weight",
        "weight",
    ):
        assert not is_fp8_matrix(name)
    assert not is_fp8_matrix("model.layers.0.self_attn.q_proj.bias")


# ------------------------------------------------------------ multi-token prediction


def test_copies_for_mtp_need_not_be_there(tmp_path):
    tensors, expected = stored(made_network())
    for name in ("model.layers.2.embed_tokens.weight", "model.layers.2.shared_head.head.weight"):
        del tensors[name]
    said: list[str] = []
    network = load_checkpoint(
        save(tmp_path / "m", tensors, quantization_config=QUANTIZATION), torch.float32, "cpu", said.append
    )
    assert dict(network.public_tensors()).keys() == expected.keys()
    assert not said


def test_copies_for_mtp_of_another_shape_are_refused(tmp_path):
    tensors, _ = stored(made_network())
    tensors["model.layers.2.embed_tokens.weight"] = torch.zeros(51, 160)
    told = refusal(save(tmp_path / "m", tensors, quantization_config=QUANTIZATION))
    assert "model.layers.2.embed_tokens.weight is [51, 160]" in told
    assert "model.embed_tokens.weight, which it repeats, is [50, 160]" in told


def test_mtp_layers_that_config_does_not_count_are_ignored_and_counted(tmp_path):
    tensors, _ = stored(made_network())
    said: list[str] = []
    folder = save(tmp_path / "m", tensors, quantization_config=QUANTIZATION, num_nextn_predict_layers=0)
    network = load_checkpoint(folder, torch.float32, "cpu", said.append)
    assert not network.mtp
    count = sum(name.startswith("model.layers.2.") for name in tensors)
    assert said == [f"ignored {count} tensors of 1 MTP layer: config.json says num_nextn_predict_layers = 0"]
    assert load_checkpoint(folder, torch.float32, "cpu").config == network.config


def test_a_folder_without_the_mtp_layers_of_its_config_loads(tmp_path):
    tensors, _ = stored(made_network())
    main = {name: t for name, t in tensors.items() if not name.startswith("model.layers.2.")}
    said: list[str] = []
    network = load_checkpoint(
        save(tmp_path / "m", main, quantization_config=QUANTIZATION), torch.float32, "cpu", said.append
    )
    assert network.config.num_nextn_predict_layers == 0
    assert said == ["the folder has none of the 1 MTP layers of its config.json; loaded without"]


def test_a_layer_too_many_is_not_taken_for_mtp(tmp_path):
    tensors, _ = stored(made_network())
    del tensors["model.layers.2.eh_proj.weight"]
    folder = save(tmp_path / "m", tensors, quantization_config=QUANTIZATION, num_nextn_predict_layers=0)
    assert "not part of this model: model.layers.2." in refusal(folder)


# ------------------------------------------------------------ what can't be read


SOME = "model.layers.1.mlp.experts.2.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({SOME + "_scale_inv": None}, f"{SOME} is F8_E4M3 but its {SOME}_scale_inv is missing"),
        ({SOME + "_scale_inv": torch.ones(2, 1)}, f"{SOME}_scale_inv is [2, 1], should be [2, 2]"),
        ({SOME: torch.zeros(144, 160)}, f"not part of this model: {SOME}_scale_inv"),
        (
            {SOME: torch.zeros(7, 160).to(torch.float8_e4m3fn)},
            f"{SOME}_scale_inv is [2, 2], should be [1, 2]",
        ),
        ({SOME + "_scale_inv": torch.full((2, 2), torch.nan)}, f"tensor {SOME} holds NaN"),
        ({SOME: torch.zeros(144, 160).to(torch.float8_e5m2)}, f"{SOME} is F8_E5M2"),
        ({SOME: torch.zeros(144).to(torch.float8_e4m3fn)}, f"{SOME}_scale_inv is [2, 2]"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, change, says):
    tensors, _ = stored(made_network())
    tensors = {name: t for name, t in (tensors | change).items() if t is not None}
    assert says in refusal(save(tmp_path / "m", tensors, quantization_config=QUANTIZATION))


@pytest.mark.parametrize(
    ("quantization", "says"),
    [
        (None, "is F8_E4M3 but config.json has no quantization_config"),
        ({"quant_method": "gptq", "bits": 4}, "quant_method 'gptq'"),
        (QUANTIZATION | {"fmt": "e5m2"}, "fmt 'e5m2'"),
        ({"quant_method": "fp8"}, "weight_block_size None"),
        (QUANTIZATION | {"weight_block_size": [128]}, "weight_block_size [128]"),
        (QUANTIZATION | {"weight_block_size": [0, 128]}, "weight_block_size [0, 128]"),
        ("fp8", "quantised weights of quant_method None"),
    ],
)
def test_another_quantisation_is_refused(tmp_path, quantization, says):
    tensors, _ = stored(made_network())
    told = refusal(save(tmp_path / "m", tensors, quantization_config=quantization))
    assert says in told


@pytest.mark.parametrize("name", ["embed_tokens.weight", "shared_head.head.weight"])
def test_a_module_with_another_embedding_or_head_is_refused(tmp_path, name):
    tensors, _ = stored(made_network())
    tensors[f"model.layers.2.{name}"][3, 5] += 1.0
    told = refusal(save(tmp_path / "m", tensors, quantization_config=QUANTIZATION))
    assert f"model.layers.2.{name} differs from" in told


def test_a_model_is_saved_in_fp8_on_request(tmp_path):
    lm = tiny_v3()
    lm.save(tmp_path / "m", fp8=True)
    kinds = {t.dtype for t in load_file(tmp_path / "m" / "model.safetensors").values()}
    assert torch.float8_e4m3fn in kinds
    again = load(tmp_path / "m", dtype="float32")
    ids = [[5, 9, 200, 31]]
    assert 0 < (again.logits(ids) - lm.logits(ids)).norm() < 0.5 * lm.logits(ids).norm()  # random routers
    with pytest.raises(BadInput, match="latent attention, which this llama lacks"):
        tiny_lm().save(tmp_path / "other", fp8=True)


MEASURE = """
import sys, torch
from pathlib import Path
from shoestring.models.checkpoint import load_checkpoint

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

before = peak()
load_checkpoint(Path(sys.argv[1]), torch.bfloat16, "cpu")
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("fp8", [False, True])
def test_loading_takes_the_model_and_one_shard(tmp_path, fp8):
    shard = 16_000_000
    network = Transformer(PRESETS["small"]).to(torch.bfloat16)
    network.init_weights(0)
    write_checkpoint(network, tmp_path, shard_bytes=shard, fp8=fp8)
    assert len(list(tmp_path.glob("*.safetensors"))) > 5
    size = 2 * sum(p.numel() for p in network.parameters())
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    took = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert size < took < size + shard + 80_000_000  # code and small things that loading brings with it
