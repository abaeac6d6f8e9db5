"""Our count against torch's own counter, and against hand-worked numbers."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from shoestring.budget.flops import (
    adapter_flops,
    causal_pairs,
    decode_flops,
    forward_flops,
    layer_flops,
    mtp_flops,
    pair_flops,
    token_flops,
    train_flops,
)
from shoestring.models.cache import CausalRows
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer
from shoestring.train.lora import Adapters, LoRASettings

TINY = ModelConfig(
    model_type="llama",
    vocab_size=40,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    tie_word_embeddings=True,
)

LATENT = ModelConfig(
    model_type="deepseek_v3",
    vocab_size=40,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=12,
    q_lora_rank=10,
    kv_lora_rank=6,
    qk_nope_head_dim=8,
    qk_rope_head_dim=4,
    v_head_dim=6,
    n_routed_experts=8,
    n_shared_experts=1,
    num_experts_per_tok=3,
    moe_intermediate_size=20,
    first_k_dense_replace=1,
    num_nextn_predict_layers=1,
)


def test_by_hand():
    # q 16x32, k and v 16x16 each, o 32x16, gate, up, down 16x24 each; 2 layers
    assert token_flops(TINY) == 2 * 2 * (16 * 32 + 2 * 16 * 16 + 32 * 16 + 3 * 16 * 24)
    assert forward_flops(TINY, 0, 1, 0) == 2 * 2 * (2 * 4 * 8)  # score and sum, 2 layers
    assert forward_flops(TINY, 0, 0, 1) == 2 * 16 * 40
    assert causal_pairs(3) == 6
    assert causal_pairs(2, before=10) == 11 + 12


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_equal_to_torchs_counter(kind):
    model = Transformer(ModelConfig(**{**TINY.__dict__, "model_type": kind, "qk_norm": kind == "qwen3"}))
    model.init_weights(0)
    rows, length = 3, 7
    ids = torch.arange(rows * length).reshape(rows, length) % 40
    positions = torch.arange(length).expand(rows, length)
    # the plain path: torch has no formula for the CPU's fused attention and would count nothing for it
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = model.head(model(ids, positions).hidden[:, -2:])
    # torch counts the whole square, masked pairs too
    pairs, tokens = rows * length * length, rows * length
    assert counter.get_total_flops() == forward_flops(TINY, tokens, pairs, 2 * rows)
    with FlopCounterMode(display=False) as counter:
        logits.sum().backward()
    backward = train_flops(TINY, tokens, pairs, 2 * rows) - forward_flops(TINY, tokens, pairs, 2 * rows)
    assert counter.get_total_flops() == backward


def test_an_adapters_backward_equals_torchs_counter():
    model = Transformer(TINY)
    model.init_weights(0)
    adapters = Adapters(model, LoRASettings(rank=3), 0)
    rows, length = 2, 5
    ids = torch.arange(rows * length).view(rows, length)
    positions = torch.arange(length).expand(rows, length)
    with sdpa_kernel(SDPBackend.MATH):
        logits = model.head(model(ids, positions).hidden[:, -2:])
    with FlopCounterMode(display=False) as counter:
        logits.sum().backward()
    counts = TINY, rows * length, rows * length * length, 2 * rows
    backward = adapter_flops(*counts, adapters.num_trained) - forward_flops(*counts)
    qkv = model.layers[0].self_attn.qkv_proj.weight
    assert counter.get_total_flops() == backward - 2 * rows * length * qkv.numel()
    assert adapter_flops(*counts, 0) < train_flops(*counts)


def test_latent_attention_and_experts_by_hand():
    queries, latent, up, out = 16 * 10 + 10 * 4 * 12, 16 * (6 + 4), 6 * 4 * (8 + 6), 4 * 6 * 16
    attention = queries + latent + up + out
    assert layer_flops(LATENT, 0) == 2 * (attention + 3 * 16 * 24)
    # the router scores all eight, three experts and the shared one work
    assert layer_flops(LATENT, 1) == 2 * (attention + 16 * 8 + 4 * 3 * 16 * 20)
    assert token_flops(LATENT) == layer_flops(LATENT, 0) + 2 * layer_flops(LATENT, 1)
    assert pair_flops(LATENT) == 2 * 4 * (12 + 6)
    assert pair_flops(LATENT, absorbed=True) == 2 * 4 * ((6 + 4) + 6)
    assert mtp_flops(LATENT, 1, 0, 0) == 2 * 2 * 16 * 16 + layer_flops(LATENT, 3)
    assert mtp_flops(TINY, 5, 7, 9) == 0
    # absorbed projections: q_nope W_UK, then W_UV, are as large as k_nope and v made from the latent
    assert up == 4 * 8 * 6 + 4 * 6 * 6


@pytest.mark.parametrize("q_lora_rank", [10, None])
def test_latent_attention_experts_and_mtp_equal_torchs_counter(q_lora_rank):
    config = dataclasses.replace(LATENT, q_lora_rank=q_lora_rank)
    model = Transformer(config)
    model.init_weights(0)
    rows, length = 3, 7
    ids = torch.arange(rows * length).reshape(rows, length) % 40
    positions = torch.arange(length).expand(rows, length)
    pairs, tokens = rows * length * length, rows * length  # the whole square
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model(ids, positions).hidden
        logits = model.head(hidden[:, -2:])
    assert counter.get_total_flops() == forward_flops(config, tokens, pairs, 2 * rows)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        context = CausalRows(rows, length)
        further = model.predict_further(0, hidden.flatten(0, 1), ids.flatten(), positions.flatten(), context)
        more = model.head(further.hidden[:4])
    assert counter.get_total_flops() == mtp_flops(config, tokens, pairs, 4)
    with FlopCounterMode(display=False) as counter:
        (logits.sum() + more.sum()).backward()
    forward = forward_flops(config, tokens, pairs, 2 * rows) + mtp_flops(config, tokens, pairs, 4)
    assert counter.get_total_flops() == 2 * forward


def test_decode_of_latents_reads_them_absorbed():
    prompt, new = 5, 4
    expected = forward_flops(LATENT, prompt, causal_pairs(prompt), 1)
    expected += forward_flops(LATENT, new - 1, causal_pairs(new - 1, prompt), new - 1, absorbed=True)
    assert decode_flops(LATENT, prompt, [new]) == expected


def test_decoding_is_the_same_tokens_and_pairs_as_one_forward():
    prompt, new = 5, 4
    whole = forward_flops(TINY, prompt + new - 1, causal_pairs(prompt + new - 1), new)
    assert decode_flops(TINY, prompt, [new]) == whole
    shared = decode_flops(TINY, prompt, [new, new])
    assert shared == 2 * whole - forward_flops(TINY, prompt, causal_pairs(prompt), 1)
    assert decode_flops(TINY, prompt, [1]) == forward_flops(TINY, prompt, causal_pairs(prompt), 1)
