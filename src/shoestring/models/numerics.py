"""Which products of a network are made from FP8 operands (arXiv 2412.19437, section 3.3): every matrix of
attention and of the feed-forward networks, the experts' too. Embedding, head, routers, norms, the attention
core and the projection into an MTP module keep the weights' precision."""

import torch
from torch import Tensor

from shoestring.models.block import Block
from shoestring.models.linear import Linear
from shoestring.models.moe import Experts, MoE
from shoestring.models.transformer import Transformer
from shoestring.ops.fp8 import fp8_grouped_experts


class FP8Experts(Experts):
    """`Experts` with E4M3 operands."""

    def weights(self) -> None:
        return None

    def forward(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        return fp8_grouped_experts(x, ids, weights, self.gate_up_proj, self.down_proj)


def use_fp8(network: Transformer, on: bool) -> None:
    """Switch the network's products, with and without gradients; its parameters stay the same objects. Decode
    that absorbs the up-projections of latent attention reads their weights directly, in their own dtype."""
    for block in (*network.layers, *(module.block for module in network.mtp)):
        assert isinstance(block, Block)
        for module in block.modules():
            if isinstance(module, Linear):
                module.numerics = "fp8" if on else "weights"
            elif isinstance(module, MoE):
                module.experts = _experts(module, FP8Experts if on else Experts)


def uses_fp8(network: Transformer) -> bool:
    return any(m.numerics == "fp8" for m in network.modules() if isinstance(m, Linear))


def _experts(moe: MoE, kind: type[Experts]) -> Experts:
    with torch.device("meta"):  # the layer's own parameters replace these
        experts = kind(moe.gate.config)
    experts.gate_up_proj, experts.down_proj = moe.experts.gate_up_proj, moe.experts.down_proj
    return experts
