"""A network's public names are the published checkpoint's, all of them and no others."""

import dataclasses
from collections import Counter

import pytest
import torch

from shoestring.models.checkpoint import checkpoint_names, source_for
from shoestring.models.names import shared_names
from shoestring.models.presets import from_width, preset_config
from shoestring.models.shards import KINDS, Folder
from shoestring.models.transformer import Transformer
from shoestring.models.weights import empty_network, fill_network

BIG = preset_config("v3-671b")


@pytest.fixture(scope="module")
def published():
    found = list(checkpoint_names(BIG, fp8=True))
    by_name = {stored.name: stored for stored in found}
    assert len(by_name) == len(found), "no name twice"
    return by_name


def test_671b_has_every_published_tensor(published):
    assert len(published) == 91_991
    kinds = Counter(stored.dtype for stored in published.values())
    # five matrices of attention in 62 layers, three for each of 59 x 257 experts and of 3 dense layers
    matrices = 62 * 5 + 59 * 257 * 3 + 3 * 3
    biases = 59
    assert kinds[torch.float8_e4m3fn] == matrices
    assert kinds[torch.float32] == matrices + biases
    assert kinds[torch.bfloat16] == 91_991 - 2 * matrices - biases
    size = sum(stored.num_bytes for stored in published.values())
    assert f"{size / 1e9:.2f}" == "688.57"


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", (576, 7168), torch.float8_e4m3fn),
        ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight_scale_inv", (5, 56), torch.float32),
        ("model.layers.0.mlp.gate_proj.weight", (18432, 7168), torch.float8_e4m3fn),
        ("model.layers.60.mlp.experts.255.down_proj.weight_scale_inv", (56, 16), torch.float32),
        ("model.layers.3.mlp.gate.weight", (256, 7168), torch.bfloat16),
        ("model.layers.3.mlp.gate.e_score_correction_bias", (256,), torch.float32),
        ("model.layers.3.mlp.shared_experts.up_proj.weight", (2048, 7168), torch.float8_e4m3fn),
        ("model.layers.61.eh_proj.weight", (7168, 14336), torch.bfloat16),
        ("model.layers.61.enorm.weight", (7168,), torch.bfloat16),
        ("model.layers.61.shared_head.norm.weight", (7168,), torch.bfloat16),
        ("model.layers.61.shared_head.head.weight", (129280, 7168), torch.bfloat16),
        ("model.layers.61.embed_tokens.weight", (129280, 7168), torch.bfloat16),
        ("lm_head.weight", (129280, 7168), torch.bfloat16),
    ],
)
def test_671b_has_it_in_the_published_shape(published, name, shape, dtype):
    assert (published[name].shape, published[name].dtype) == (shape, dtype)


@pytest.mark.parametrize("layers", [4, pytest.param(61, marks=pytest.mark.slow)])
def test_a_loader_reads_every_published_tensor_once(layers, monkeypatch):
    """Tensors without data through the real loader: nothing missing, nothing left over."""
    monkeypatch.setattr(torch, "isfinite", lambda _: True)  # there are no values to look at
    config = dataclasses.replace(BIG, num_hidden_layers=layers)
    published = {stored.name: stored for stored in checkpoint_names(config, fp8=True)}
    network = empty_network(config, torch.bfloat16, "meta")
    reads: Counter[str] = Counter()

    def read(name: str) -> torch.Tensor:
        reads[name] += 1
        return torch.empty(published[name].shape, dtype=published[name].dtype, device="meta")

    shapes = {name: stored.shape for name, stored in published.items()}
    kinds = {name: KINDS[stored.dtype] for name, stored in published.items()}
    fill_network(network, source_for(network, Folder("fake", shapes, kinds, read), (128, 128)))
    # once, and once more what MTP's copies are held against
    assert reads == Counter([*published, *(original for _, original in shared_names(network))])


def test_names_are_views_of_the_live_weights():
    """What is copied into the public tensors is every parameter and every buffer that is learned."""
    network = Transformer(from_width(128, 64))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
        for _, tensor in network.public_tensors():
            tensor.fill_(1.0)
    assert all((parameter == 1).all() for parameter in network.parameters())
    assert all((router.e_score_correction_bias == 1).all() for router in network.routers())
    names = [name for name, _ in network.public_tensors()]
    assert len(set(names)) == len(names)
