"""Presets have the published numbers, or the ones that their dial promises."""

import pytest
import torch

from shoestring.errors import BadInput
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import config_from_hf, config_to_hf
from shoestring.models.parameters import CachePerToken, cache_per_token, count_parameters
from shoestring.models.presets import PRESETS, from_width, preset_config
from shoestring.models.transformer import Transformer

BIG = preset_config("v3-671b")


def test_671b_has_the_published_counts():
    counts = count_parameters(BIG)
    # per layer: q 7168 x 1536 x 24576, latent 576 x 7168, up 32768 x 512, out 7168 x 16384
    attention = 7168 * 1536 + 1536 * 24576 + 576 * 7168 + 32768 * 512 + 7168 * 16384
    expert = 3 * 7168 * 2048
    assert counts.parts["attention"] == 61 * attention
    assert counts.parts["routed experts"] == 58 * 256 * expert
    assert counts.active["routed experts"] == 58 * 8 * expert
    assert counts.parts["shared experts"] == counts.active["shared experts"] == 58 * expert
    assert counts.parts["dense FFN"] == 3 * 3 * 7168 * 18432
    assert counts.parts["router"] == 58 * 256 * 7168
    assert counts.parts["embedding"] == counts.parts["head"] == 129280 * 7168
    assert counts.parts["norms"] == 61 * (2 * 7168 + 1536 + 512) + 7168
    assert f"{counts.total / 1e9:.2f}" == "671.03"
    assert f"{counts.total_active / 1e9:.2f}" == "37.55"
    assert f"{counts.mtp / 1e9:.2f}" == "11.61"


def test_671b_keeps_the_published_cache():
    # 512 + 64 numbers in 61 layers; 8 or 128 heads with keys and values of 128
    assert cache_per_token(BIG) == CachePerToken(70_272, 2 * 8 * 128 * 122, 2 * 128 * 128 * 122, 8)


def test_16b_is_of_its_size():
    counts = count_parameters(preset_config("v3-16b"))
    assert f"{counts.total / 1e9:.1f}" == "15.7"
    assert 2.4e9 < counts.total_active - counts.parts["embedding"] < 2.5e9  # "2.4B" as it is told


@pytest.mark.parametrize(("name", "active", "vocab_size"), [("tiny", 5e6, 4096), ("small", 25e6, 8192)])
def test_the_small_ones_fit_a_laptop(name, active, vocab_size):
    config = preset_config(name)
    counts = count_parameters(config)
    assert 0.9 * active < counts.total_active < 1.1 * active
    assert counts.total < 8 * counts.total_active
    assert config.vocab_size == vocab_size
    assert preset_config(name, vocab_size=300).vocab_size == 300


@pytest.mark.parametrize("width", [128, 256, 384, 512, 1024])
def test_every_width_has_sizes_that_kernels_like(width):
    c = from_width(width, 4096)
    sizes = (c.hidden_size, c.intermediate_size, c.moe_intermediate_size, c.q_lora_rank, c.kv_lora_rank)
    assert not any(size % 32 for size in sizes if size)
    assert c.qk_nope_head_dim + c.qk_rope_head_dim == c.v_head_dim == c.head_dim
    assert c.num_attention_heads * c.v_head_dim == width
    assert c.first_k_dense_replace == c.n_shared_experts == c.num_nextn_predict_layers == 1
    assert (c.n_shared_experts + c.num_experts_per_tok) * c.moe_intermediate_size == c.intermediate_size
    assert c.initializer_range == pytest.approx(0.006 * (7168 / width) ** 0.5)


@pytest.mark.parametrize("width", [0, 64, 200])
def test_a_width_between_is_refused(width):
    with pytest.raises(BadInput, match="must be a multiple of 128"):
        from_width(width, 4096)


def test_an_unknown_name_is_one_line():
    with pytest.raises(BadInput, match="no preset 'v3-671', did you mean 'v3-671b'"):
        preset_config("v3-671")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hiden_size": 64}, "preset tiny has no field 'hiden_size', did you mean 'hidden_size'"),
        ({"hidden_size": "wide"}, "hidden_size = 'wide' is of the wrong kind"),
        ({"topk_group": 2}, "topk_group 2 must lie between 1 and n_group 1"),
    ],
)
def test_a_change_that_can_not_be_made_is_one_line(changes, says):
    with pytest.raises(BadInput, match=says) as caught:
        preset_config("tiny", **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_config_json(name):
    assert config_from_hf(config_to_hf(preset_config(name))) == preset_config(name)


def test_tiny_runs():
    network = Transformer(from_width(128, 64))
    network.init_weights(0)
    hidden = network(torch.arange(12).view(2, 6), torch.arange(6).expand(2, 6)).hidden
    assert network.head(hidden).shape == (2, 6, 64)
    assert hidden.isfinite().all()


def test_a_dense_model_is_counted_too():
    dense = ModelConfig(
        model_type="llama",
        vocab_size=10,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        tie_word_embeddings=True,
    )
    counts = count_parameters(dense)
    assert counts.total == counts.total_active == sum(p.numel() for p in Transformer(dense).parameters())
    assert counts.parts["head"] == counts.mtp == 0
    assert cache_per_token(dense, bytes_each=4) == CachePerToken(
        2 * 2 * 2 * 4 * 4, 2 * 2 * 4 * 4, 2 * 2 * 4 * 4 * 4, 1
    )
