"""A network's tensors as llama.cpp wants them: named by its table, q and k of the llama architecture
interleaved, a layer's experts in one tensor, the latents' up-projection cut by head. MTP modules are left
out."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.models import gguf_deepseek as deepseek
from shoestring.models.config import ModelConfig
from shoestring.models.gguf import INNER, OUTER, ROPE_FACTORS
from shoestring.models.rope import scaled_inverse_frequencies
from shoestring.models.transformer import Transformer

LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
EXPERT = re.compile(r"mlp\.experts\.(\d+)\.(\w+)\.weight")
FIRST_EXPERT = re.compile(r"mlp\.experts\.0\.(\w+)\.weight")
WIDE = ("ffn_gate_inp.weight",)  # matrices that stay in float32: the router's choice hangs on small gaps


@dataclass(frozen=True)
class Piece:
    """A tensor to write; `make` gives it in float32 when its turn comes."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) > 1 and not self.name.endswith(WIDE)


def pieces(network: Transformer) -> Iterator[Piece]:
    config = network.config
    if config.rope_scaling is not None and config.rope_scaling.rope_type == "llama3":
        factors = _rope_factors(config)
        yield Piece(ROPE_FACTORS, tuple(factors.shape), lambda: factors)
    tensors = dict(network.public_tensors())
    names = _stored_names(config)
    for public, tensor in tensors.items():
        layer = LAYER.fullmatch(public)
        if layer is None:
            kind, _, rest = public.rpartition(".")
            yield _piece(f"{names[kind]}.{rest}", tensor)
        elif int(layer[1]) < config.num_hidden_layers:
            yield from _of_layer(config, names, tensors, int(layer[1]), layer[2])


def inner_name(public: str) -> str:
    """Within its layer."""
    layer = LAYER.fullmatch(public)
    return layer[2] if layer else public


def left_out(network: Transformer) -> int:
    """Tensors of MTP modules."""
    found = (LAYER.fullmatch(public) for public, _ in network.public_tensors())
    return sum(layer is not None and int(layer[1]) >= network.config.num_hidden_layers for layer in found)


def _of_layer(
    config: ModelConfig, names: dict[str, str], tensors: dict[str, Tensor], layer: int, inner: str
) -> Iterator[Piece]:
    prefix, block = f"model.layers.{layer}.", f"blk.{layer}."
    tensor = tensors[prefix + inner]
    if inner == deepseek.KV_UP:
        nope, value = config.qk_nope_head_dim, config.v_head_dim
        by_head = tensor.unflatten(0, (config.num_attention_heads, nope + value))
        yield _piece(block + deepseek.KEYS_UP, by_head[:, :nope].transpose(1, 2))
        yield _piece(block + deepseek.VALUES_UP, by_head[:, nope:])
    elif (first := FIRST_EXPERT.fullmatch(inner)) is not None:
        kind = first[1]
        own = next(name for name, public in deepseek.EXPERTS.items() if public == kind)
        all_of = [f"{prefix}mlp.experts.{i}.{kind}.weight" for i in range(config.n_routed_experts)]
        shape = (len(all_of), *tensor.shape)
        yield Piece(block + own, shape, lambda: torch.stack([tensors[name].float() for name in all_of]))
    elif EXPERT.fullmatch(inner):
        return
    elif inner in deepseek.ROUTER_BIAS.values():
        name = next(name for name, public in deepseek.ROUTER_BIAS.items() if public == inner)
        yield _piece(block + name, tensor)
    else:
        kind, _, rest = inner.rpartition(".")
        yield _piece(f"{block}{names[kind]}.{rest}", _turned(config, inner, tensor))


def _piece(name: str, tensor: Tensor) -> Piece:
    return Piece(name, tuple(tensor.shape), lambda: tensor.float().contiguous())


def _stored_names(config: ModelConfig) -> dict[str, str]:
    tables = (deepseek.OUTER | deepseek.INNER) if config.is_mla else (OUTER | INNER)
    return {public: name for name, public in tables.items()}


def _turned(config: ModelConfig, inner: str, tensor: Tensor) -> Tensor:
    """llama.cpp turns neighbours (x[2i], x[2i + 1]) in the llama and deepseek2 architectures."""
    if config.model_type == "llama" and ".q_proj." in inner:
        return interleaved(tensor, config.num_attention_heads)
    if config.model_type == "llama" and ".k_proj." in inner:
        return interleaved(tensor, config.num_key_value_heads)
    return as_read_back(config, inner, tensor)


def as_read_back(config: ModelConfig, inner: str, tensor: Tensor) -> Tensor:
    """A file of the deepseek2 architecture says nothing of the pairs that turn, which are neighbours; so a
    model that turns halves is another's tensors."""
    if config.is_mla and not config.rope_interleave:
        first = "q_proj" if config.q_lora_rank is None else "q_b_proj"
        if inner == f"self_attn.{first}.weight":
            heads = tensor.unflatten(0, (config.num_attention_heads, config.head_dim))
            return torch.stack([_last_interleaved(h, config.qk_rope_head_dim) for h in heads]).flatten(0, 1)
        if inner == "self_attn.kv_a_proj_with_mqa.weight":
            return _last_interleaved(tensor, config.qk_rope_head_dim)
    return tensor


def interleaved(rows: Tensor, num_heads: int) -> Tensor:
    """Each head's rows i and i + D/2 become neighbours: what `models.gguf.unpermute` undoes."""
    return rows.unflatten(0, (num_heads, 2, -1)).transpose(1, 2).reshape(rows.shape)


def _last_interleaved(rows: Tensor, rope: int) -> Tensor:
    return torch.cat((rows[:-rope], interleaved(rows[-rope:], 1)))


def _rope_factors(config: ModelConfig) -> Tensor:
    """What Llama 3's scaling divides each frequency by."""
    d = config.rope_dim
    plain = [config.rope_theta ** (-2 * i / d) for i in range(d // 2)]
    pairs = zip(plain, scaled_inverse_frequencies(config), strict=True)
    return torch.tensor([f / scaled for f, scaled in pairs], dtype=torch.float32)
