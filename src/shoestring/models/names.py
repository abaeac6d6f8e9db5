"""The public checkpoint's names of a network's tensors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from shoestring.models.attention import Attention
from shoestring.models.block import Block
from shoestring.models.linear import Linear
from shoestring.models.mla import LatentAttention
from shoestring.models.moe import MLP, MoE
from shoestring.models.mtp import MTPModule

if TYPE_CHECKING:
    from shoestring.models.transformer import Transformer

Named = Iterator[tuple[str, Tensor]]


class Part(NamedTuple):
    """A public matrix, named without its ".weight": the rows start : stop of a layer's product."""

    name: str
    linear: Linear
    start: int
    stop: int


EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


def public_tensors(network: "Transformer") -> Named:
    """As `Transformer.public_tensors` says."""
    yield EMBEDDING, network.embed_tokens.detach()
    for i, block in enumerate(network.layers):
        assert isinstance(block, Block)
        yield from _block(f"model.layers.{i}.", block)
    for i, module in enumerate(network.mtp, start=len(network.layers)):
        assert isinstance(module, MTPModule)
        prefix = f"model.layers.{i}."
        yield prefix + "enorm.weight", module.enorm.detach()
        yield prefix + "hnorm.weight", module.hnorm.detach()
        yield prefix + "eh_proj.weight", module.eh_proj.weight.detach()
        yield from _block(prefix, module.block)
        yield prefix + "shared_head.norm.weight", module.norm.detach()
    yield NORM, network.norm.detach()
    if network.lm_head is not None:
        yield HEAD, network.lm_head.detach()


def shared_names(network: "Transformer") -> Iterator[tuple[str, str]]:
    """(name, what it repeats): the copies of embedding and head that a checkpoint holds for MTP modules."""
    head = EMBEDDING if network.lm_head is None else HEAD
    for i in range(len(network.layers), len(network.layers) + len(network.mtp)):
        yield f"model.layers.{i}.embed_tokens.weight", EMBEDDING
        yield f"model.layers.{i}.shared_head.head.weight", head


def _block(prefix: str, block: Block) -> Named:
    yield prefix + "input_layernorm.weight", block.input_layernorm.detach()
    attention, mlp = block.self_attn, block.mlp
    if isinstance(attention, LatentAttention):
        yield from _latent(prefix + "self_attn.", attention)
    else:
        yield from _grouped_query(prefix + "self_attn.", attention)
    yield from _moe(prefix + "mlp.", mlp) if isinstance(mlp, MoE) else _mlp(prefix + "mlp.", mlp)
    yield prefix + "post_attention_layernorm.weight", block.post_attention_layernorm.detach()


def linear_parts(network: "Transformer") -> Iterator[Part]:
    """The main layers' public matrices that are applied to every token: attention's and feed-forward
    networks', shared experts' too, without routers and routed experts."""
    for i, block in enumerate(network.layers):
        assert isinstance(block, Block)
        prefix, attention, mlp = f"model.layers.{i}.", block.self_attn, block.mlp
        if isinstance(attention, LatentAttention):
            products = _latent_products(prefix + "self_attn.", attention)
        else:
            products = _query_products(prefix + "self_attn.", attention)
        if isinstance(mlp, MLP):
            products += _mlp_products(prefix + "mlp.", mlp)
        elif mlp.shared_experts is not None:
            products += _mlp_products(prefix + "mlp.shared_experts.", mlp.shared_experts)
        for parts in products:
            yield from parts


def _parts(prefix: str, names: tuple[str, ...], linear: Linear, sizes: tuple[int, ...]) -> list[Part]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    assert ends[-1] == linear.out_features, (names, sizes)
    spans = zip(names, sizes, ends, strict=True)
    return [Part(prefix + name, linear, end - size, end) for name, size, end in spans]


def _whole(prefix: str, name: str, linear: Linear) -> list[Part]:
    return [Part(prefix + name, linear, 0, linear.out_features)]


def _split(parts: list[Part]) -> Named:
    """Of one product: its weights, then its biases."""
    for part in parts:
        yield part.name + ".weight", part.linear.weight.detach()[part.start : part.stop]
    for part in parts:
        if part.linear.bias is not None:
            yield part.name + ".bias", part.linear.bias.detach()[part.start : part.stop]


def _query_products(prefix: str, layer: Attention) -> list[list[Part]]:
    heads = (layer.num_heads * layer.head_dim, *(layer.num_kv_heads * layer.head_dim,) * 2)
    first = _parts(prefix, ("q_proj", "k_proj", "v_proj"), layer.qkv_proj, heads)
    return [first, _whole(prefix, "o_proj", layer.o_proj)]


def _grouped_query(prefix: str, layer: Attention) -> Named:
    for product in _query_products(prefix, layer):
        yield from _split(product)
    if layer.q_norm is not None and layer.k_norm is not None:
        yield prefix + "q_norm.weight", layer.q_norm.detach()
        yield prefix + "k_norm.weight", layer.k_norm.detach()


def _latent_products(prefix: str, layer: LatentAttention) -> list[list[Part]]:
    """The down-projections, the queries' up-projection where there is one, the latents', the output."""
    queries, rank, rope = layer.parts
    first = "q_proj" if layer.q_b_proj is None else "q_a_proj"
    products = [_parts(prefix, (first, "kv_a_proj_with_mqa"), layer.a_proj, (queries, rank + rope))]
    if layer.q_b_proj is not None:
        products.append(_whole(prefix, "q_b_proj", layer.q_b_proj))
    last = (("kv_b_proj", layer.kv_b_proj), ("o_proj", layer.o_proj))
    return products + [_whole(prefix, name, linear) for name, linear in last]


def _latent(prefix: str, layer: LatentAttention) -> Named:
    down, *queries, up, out = _latent_products(prefix, layer)
    yield from _split(down)
    if layer.q_a_layernorm is not None:
        yield prefix + "q_a_layernorm.weight", layer.q_a_layernorm.detach()
    for product in queries:
        yield from _split(product)
    yield prefix + "kv_a_layernorm.weight", layer.kv_a_layernorm.detach()
    yield from _split(up)
    yield from _split(out)


def _mlp_products(prefix: str, mlp: MLP) -> list[list[Part]]:
    inner = mlp.down_proj.in_features
    first = _parts(prefix, ("gate_proj", "up_proj"), mlp.gate_up_proj, (inner, inner))
    return [first, _whole(prefix, "down_proj", mlp.down_proj)]


def _mlp(prefix: str, mlp: MLP) -> Named:
    for product in _mlp_products(prefix, mlp):
        yield from _split(product)


def _moe(prefix: str, moe: MoE) -> Named:
    yield prefix + "gate.weight", moe.gate.weight.detach()
    if moe.gate.config.has_router_bias:
        yield prefix + "gate.e_score_correction_bias", moe.gate.e_score_correction_bias
    gate_up, down = moe.experts.gate_up_proj.detach(), moe.experts.down_proj.detach()
    for i in range(len(gate_up)):
        gate, up = gate_up[i].chunk(2)
        yield f"{prefix}experts.{i}.gate_proj.weight", gate
        yield f"{prefix}experts.{i}.up_proj.weight", up
        yield f"{prefix}experts.{i}.down_proj.weight", down[i]
    if moe.shared_experts is not None:
        yield from _mlp(prefix + "shared_experts.", moe.shared_experts)
