"""DeepSeek-V3 and V2 networks against transformers, both ways, over random small configs."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    PreTrainedModel,
)
from transformers.modeling_layers import MtpLayer
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3RMSNorm

from shoestring.models.cache import CausalRows
from shoestring.models.checkpoint import load_checkpoint, write_checkpoint
from shoestring.models.transformer import Transformer
from tiny_v3 import v3_network

TOKENS = 40


def random_config(seed: int) -> dict[str, Any]:
    r = random.Random(seed)
    groups = r.choice([1, 2, 4])
    config: dict[str, Any] = {
        "vocab_size": 97,
        "hidden_size": r.choice([32, 48]),
        "intermediate_size": 64,
        "moe_intermediate_size": r.choice([16, 24]),
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_shared_experts": r.choice([1, 2]),
        "n_routed_experts": 8,
        "kv_lora_rank": r.choice([8, 16]),
        "q_lora_rank": r.choice([None, 24]),
        "qk_rope_head_dim": r.choice([4, 8]),
        "qk_nope_head_dim": r.choice([8, 16]),
        "v_head_dim": r.choice([8, 12, 16]),
        "n_group": groups,
        "topk_group": r.choice([2, 3]) if groups == 4 else r.choice([1, groups]),
        "num_experts_per_tok": 2,
        "first_k_dense_replace": r.choice([0, 1, 2]),
        "routed_scaling_factor": r.choice([1.0, 2.5]),
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "rms_norm_eps": r.choice([1e-6, 1e-5]),
        "eos_token_id": 1,
        "bos_token_id": 0,
    }
    if r.random() < 0.5:
        config["rope_parameters"] = {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": r.choice([1.0, 0.7]),
            "mscale_all_dim": 1.0,
        }
    return config


def v3_peer(seed: int) -> PreTrainedModel:
    r = random.Random(-seed)
    more = {"norm_topk_prob": r.random() < 0.7, "rope_interleave": r.random() < 0.7}
    torch.manual_seed(seed)
    peer = DeepseekV3ForCausalLM(DeepseekV3Config(**random_config(seed), **more, num_nextn_predict_layers=0))
    for layer in peer.model.layers:
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.e_score_correction_bias.normal_(0, 0.3)
    return peer.eval()


def v2_peer(seed: int) -> PreTrainedModel:
    method = random.Random(-seed).choice(["greedy", "group_limited_greedy"])
    torch.manual_seed(seed)
    return DeepseekV2ForCausalLM(DeepseekV2Config(**random_config(seed), topk_method=method)).eval()


def tokens() -> torch.Tensor:
    return torch.randint(0, 97, (2, TOKENS), generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def logits(network: Transformer) -> torch.Tensor:
    ids = tokens()
    return network.head(network(ids, torch.arange(TOKENS).expand(ids.shape)).hidden)


@pytest.mark.parametrize(
    ("make", "seed"), [(v3_peer, s) for s in range(20)] + [(v2_peer, s) for s in range(6)]
)
def test_logits_equal_transformers_both_ways(make: Any, seed: int, tmp_path: Path) -> None:
    peer = make(seed)
    with torch.no_grad():
        expected = peer(tokens()).logits
    peer.save_pretrained(tmp_path / "theirs")
    network = load_checkpoint(tmp_path / "theirs", torch.float32, "cpu")
    assert (logits(network) - expected).abs().max() < 1e-4
    write_checkpoint(network, tmp_path / "ours")
    again = type(peer).from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        assert (again(tokens()).logits - expected).abs().max() < 1e-4


def test_transformers_loads_a_model_with_mtp_and_leaves_its_module_out(tmp_path: Path) -> None:
    network = v3_network(vocab_size=97)
    write_checkpoint(network, tmp_path)
    peer = DeepseekV3ForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert (peer(tokens()).logits - logits(network)).abs().max() < 1e-4


def test_mtp_module_equals_transformers_layer(tmp_path: Path) -> None:
    network = v3_network(vocab_size=97)
    write_checkpoint(network, tmp_path)
    config = DeepseekV3Config.from_pretrained(tmp_path)
    config._attn_implementation = "eager"
    layer = MtpLayer(config, DeepseekV3DecoderLayer, DeepseekV3RMSNorm, config.num_hidden_layers)
    own = dict(network.public_tensors())
    prefix = f"model.layers.{config.num_hidden_layers}."
    state: dict[str, torch.Tensor] = {}
    gates = {n: t for n, t in own.items() if n.startswith(prefix)}
    for name, tensor in gates.items():
        short = name.removeprefix(prefix)
        top = ("enorm", "hnorm", "eh_proj")
        if short == "shared_head.norm.weight":
            state["post_norm.weight"] = tensor
        elif short.startswith(top):
            state[short] = tensor
        elif ".experts." not in short:
            state[f"mtp_block.{short}"] = tensor
    experts = network.mtp[0].block.mlp.experts
    state["mtp_block.mlp.experts.gate_up_proj"] = experts.gate_up_proj.detach()
    state["mtp_block.mlp.experts.down_proj"] = experts.down_proj.detach()
    layer.load_state_dict(state)
    peer = DeepseekV3ForCausalLM.from_pretrained(tmp_path).eval()

    ids = tokens()[:1]
    following = torch.roll(ids, -1, 1)
    positions = torch.arange(TOKENS)
    mask = torch.full((TOKENS, TOKENS), float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        hidden = network(ids, positions[None]).hidden[0]
        ours = network.predict_further(0, hidden, following[0], positions, CausalRows(1, TOKENS)).hidden
        embedded = peer.model.embed_tokens(following)
        rope = peer.model.rotary_emb(embedded, positions[None])
        theirs = layer(embedded, hidden[None], rope, mask, positions[None], None)
    assert (ours - theirs[0]).abs().max() < 1e-4
