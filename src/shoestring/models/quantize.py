"""Quantised weights, for serving only: every matrix of attention, of feed-forward networks and of experts,
the embedding and the head. Norms, biases, routers, and the up-projection that latent attention absorbs stay
in the network's dtype, as does a matrix whose rows aren't whole groups of 32.

With "int4" embedding and head are in 8 bits: they are read once a token, or lead straight to the logits."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from shoestring.errors import BadInput
from shoestring.models.linear import Linear
from shoestring.models.mla import LatentAttention
from shoestring.models.moe import Experts
from shoestring.models.transformer import Transformer
from shoestring.ops.coded_experts import CodedExperts, can_code, pack_experts
from shoestring.ops.quantized import SIZE, Groups, Quantized, can_quantize, pack, quantize_4, quantize_8

Form = Literal["int8", "int4"]


@dataclass(frozen=True)
class QuantizedShare:
    """Of a network's weights: how many are in 8 bits, in 4, and as they were; the bytes they take."""

    in_8: int
    in_4: int
    plain: int
    nbytes: int

    def line(self) -> str:
        whole = self.in_8 + self.in_4 + self.plain
        parts = ((self.in_8, "in 8 bits"), (self.in_4, "in 4 bits"), (self.plain, "not quantised"))
        shares = ", ".join(f"{count / whole:.1%} {what}" for count, what in parts if count)
        return f"{shares}; {self.nbytes / 2**20:.0f} MiB, {8 * self.nbytes / whole:.1f} bits a weight"


def quantize_network(network: Transformer, form: Form) -> None:
    """In place, matrix by matrix: the memory needed is the network and one matrix. Raises BadInput where rows
    of the hidden size are not whole groups."""
    if not can_quantize(network.embed_tokens):
        raise BadInput(
            f"the model's hidden size {network.config.hidden_size} is not a multiple of {SIZE}: it can't be "
            "quantised, load it without quantize"
        )
    for linear in quantized_linears(network):
        if can_quantize(linear.weight):
            linear.quantize(pack(groups_of(linear.weight.detach(), form)))
    for experts in coded_mixtures(network):
        wide, narrow = (
            pack_experts(weight.detach(), lambda expert: groups_of(expert, form))
            for weight in (experts.gate_up_proj, experts.down_proj)
        )
        experts.quantized = CodedExperts(wide, narrow, len(experts.gate_up_proj))
        experts.gate_up_proj, experts.down_proj = map(_shape_only, (experts.gate_up_proj, experts.down_proj))
    embedding = pack(quantize_8(network.embed_tokens.detach()))
    head = None if network.lm_head is None else pack(quantize_8(network.lm_head.detach()))
    set_ends(network, embedding, head)


def groups_of(weight: Tensor, form: Form) -> Groups:
    return quantize_8(weight) if form == "int8" else quantize_4(weight)


def quantized_linears(network: Transformer) -> Iterable[Linear]:
    """Those that may be quantised."""
    absorbed = {id(m.kv_b_proj) for m in network.modules() if isinstance(m, LatentAttention)}
    return [m for m in network.modules() if isinstance(m, Linear) and id(m) not in absorbed]


def coded_mixtures(network: Transformer) -> list[Experts]:
    """Routed experts that are quantised, or may be."""
    return [
        m
        for m in network.modules()
        if isinstance(m, Experts) and can_code(m.gate_up_proj) and can_code(m.down_proj)
    ]


def set_ends(network: Transformer, embedding: Quantized, head: Quantized | None) -> None:
    """Embedding and head (None: tied) in place of the network's own."""
    network.quantized_embedding = embedding
    network.quantized_head = embedding if head is None else head
    network.embed_tokens = _shape_only(network.embed_tokens)
    if network.lm_head is not None:
        network.lm_head = _shape_only(network.lm_head)


def _shape_only(weight: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(weight.detach().to("meta"), requires_grad=False)


def quantized_share(network: Transformer) -> QuantizedShare:
    matrices: list[Quantized] = [
        m.quantized for m in network.modules() if isinstance(m, Linear) and m.quantized is not None
    ]
    routed = [m.quantized for m in network.modules() if isinstance(m, Experts)]
    matrices += [matrix for m in routed if m is not None for matrix in (m.gate_up, m.down)]
    ends = (network.quantized_embedding, network.quantized_head)
    matrices += [m for m in dict.fromkeys(ends) if m is not None]
    counts = {8: 0, 4: 0}
    for matrix in matrices:
        counts[matrix.bits] += matrix.rows * matrix.depth
    plain = [p for p in network.parameters() if p.device != torch.device("meta")]
    nbytes = sum(m.nbytes for m in matrices) + sum(p.nbytes for p in plain)
    return QuantizedShare(counts[8], counts[4], sum(p.numel() for p in plain), nbytes)
