"""A preset with plain attention in place of the latent one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shoestring.errors import BadInput
from shoestring.jobs.pretrain_settings import PretrainSettings, check, planned_config
from shoestring.lm import load
from shoestring.models.checkpoint import read_config
from shoestring.models.config import ModelConfig
from shoestring.models.parameters import cache_per_token
from shoestring.settings import build
from tiny_v3 import tiny_v3
from training_runs import TINY_V3, metrics, pretrain_settings, run, save_tokenizer

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}


def config_of(attention: str, **architecture: int) -> ModelConfig:
    values: dict[str, Any] = {"preset": "tiny", "tokenizer": "t", "steps": 1}
    values |= {"corpus": [{"kind": "stdlib"}], "attention": attention, "architecture": architecture}
    return planned_config(build(PretrainSettings, values, "x"))


@pytest.mark.parametrize(("attention", "heads", "cache"), [("gqa", 2, 2048), ("mha", 4, 4096)])
def test_the_preset_with_plain_attention(attention: str, heads: int, cache: int) -> None:
    """A token keeps 2 x heads x 64 numbers of 2 bytes in each of 4 layers, or 64 + 32."""
    config = config_of(attention)
    assert not config.is_mla
    assert (config.num_key_value_heads, config.head_dim, config.value_dim) == (heads, 64, 64)
    assert config.rope_dim == 64
    assert cache_per_token(config).own == cache
    assert cache_per_token(config_of("mla")).own == 768
    assert config.n_routed_experts == 16
    assert config.num_nextn_predict_layers == 1


def test_fields_of_the_architecture_come_first() -> None:
    config = config_of("gqa", hidden_size=128, num_attention_heads=8, num_key_value_heads=8, v_head_dim=32)
    assert (config.hidden_size, config.num_key_value_heads, config.head_dim) == (128, 2, 32)
    assert config_of("gqa", num_attention_heads=16, num_key_value_heads=16).num_key_value_heads == 4
    assert config_of("gqa", num_attention_heads=1, num_key_value_heads=1).num_key_value_heads == 1


def test_what_is_refused() -> None:
    with pytest.raises(BadInput, match="attention") as caught:
        config_of("mqa")
    assert "\n" not in str(caught.value)
    values = {"model": "m", "corpus": [{"kind": "stdlib"}], "steps": 1, "attention": "gqa"}
    with pytest.raises(BadInput, match="attention changes a preset; give preset"):
        check(build(PretrainSettings, values, "x"))


@pytest.mark.parametrize("attention", ["gqa", "mha"])
def test_it_trains_and_loads_again(attention: str, tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path / "t")
    settings = pretrain_settings(tokenizer, architecture=TINY_V3 | HEADS, attention=attention, steps=3)
    run(settings, tmp_path / "run")
    assert metrics(tmp_path / "run")[-1]["mtp_loss"] > 0
    raw = json.loads((tmp_path / "run/model/config.json").read_text())
    assert raw["model_type"] == "deepseek_v3"
    assert raw["kv_lora_rank"] is None
    lm = load(tmp_path / "run")
    assert not lm.config.is_mla
    assert lm.config.num_key_value_heads == (2 if attention == "gqa" else 4)


def test_saved_and_loaded_it_is_the_same_model(tmp_path: Path) -> None:
    plain = {"kv_lora_rank": None, "q_lora_rank": None, "num_key_value_heads": 2}
    plain |= {"qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0}
    lm = tiny_v3(**plain)
    lm.save(tmp_path / "m")
    again = load(tmp_path / "m", dtype="float32")
    assert again.config == lm.config == read_config(tmp_path / "m")
    ids = torch.arange(3, 60)[None]
    assert torch.equal(again.logits(ids), lm.logits(ids))
