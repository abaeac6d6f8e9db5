"""The layers of a latent-attention network as one native call takes them."""

from collections.abc import Sequence

import torch

from shoestring.models.block import Block
from shoestring.models.linear import Linear
from shoestring.models.mla import LATENT_EPS, LatentAttention
from shoestring.models.moe import MLP, MoE
from shoestring.ops.block import Product
from shoestring.ops.latent_layers import LatentExperts, LatentLayer, LatentLayersCall, LatentShape
from shoestring.ops.panels import panel_library


def latent_call(layers: Sequence[Block]) -> LatentLayersCall | None:
    """None where one of them can't be taken so: not in bf16 and panels, quantised, or without all experts."""
    first = layers[0].self_attn
    if not isinstance(first, LatentAttention):
        return None
    taken = [made for layer in layers if (made := _layer(layer)) is not None]
    library = panel_library(first.a_proj.weight)
    if len(taken) < len(layers) or library is None:
        return None
    rules = [layer.mlp.gate.rule for layer in layers if isinstance(layer.mlp, MoE)]
    rule = rules[0] if rules else None
    size = first.a_proj.in_features
    shape = LatentShape(
        size, first.rank, first.heads, first.widths, rule, layers[0].eps, LATENT_EPS, first.scale
    )
    return LatentLayersCall(library, shape, taken)


def _layer(layer: Block) -> LatentLayer | None:
    attention = layer.self_attn
    assert isinstance(attention, LatentAttention)
    after = _experts(layer.mlp) if isinstance(layer.mlp, MoE) else _network(layer.mlp)
    a, out = _product(attention.a_proj), _product(attention.o_proj)
    q_b = None if attention.q_b_proj is None else _product(attention.q_b_proj)
    if q_b is None and attention.q_b_proj is not None:
        return None
    if after is None or a is None or out is None or attention.kv_b_proj.quantized is not None:
        return None
    norms = (
        layer.input_layernorm,
        layer.post_attention_layernorm,
        attention.q_a_layernorm,
        attention.kv_a_layernorm,
    )
    return LatentLayer((a, q_b, out), after, norms, attention.absorbed())


def _product(linear: Linear) -> Product | None:
    panels = None if linear.quantized is not None else linear.panels()
    return None if panels is None else Product(panels, linear.bias)


def _network(mlp: MLP) -> tuple[Product, Product] | None:
    first, last = _product(mlp.gate_up_proj), _product(mlp.down_proj)
    return None if first is None or last is None else (first, last)


def _experts(mixture: MoE) -> LatentExperts | None:
    routed = mixture.experts.weights()
    shared = None if mixture.shared_experts is None else mixture.shared_experts.weights()
    if routed is None or (shared is None and mixture.shared_experts is not None):
        return None
    if any(weight.dtype != torch.bfloat16 for weight in (*routed, *(shared or ()))):
        return None
    gate = mixture.gate
    return LatentExperts((gate.wide(), gate.e_score_correction_bias), routed, shared)
