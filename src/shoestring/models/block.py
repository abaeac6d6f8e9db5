"""One layer of the network."""

import torch
from torch import Tensor, nn

from shoestring.models.attention import Attention, AttentionContext
from shoestring.models.config import ModelConfig
from shoestring.models.mla import LatentAttention
from shoestring.models.moe import MLP, MoE, RoutingTrace
from shoestring.ops.norm import add_rms_norm, rms_norm


class Block(nn.Module):
    """Pre-norm residual block: x += attention(norm(x)); x += mlp(norm(x)).

    The residual stream x is float32 whatever the weights are: rounding it to bf16 after every branch is what
    made two ways of computing the same logprob differ most. The last branch's output is handed on unadded, so
    that each sum is made in one pass with the norm that follows it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.input_layernorm = nn.Parameter(torch.ones(config.hidden_size))
        self.self_attn = LatentAttention(config, layer) if config.is_mla else Attention(config, layer)
        self.post_attention_layernorm = nn.Parameter(torch.ones(config.hidden_size))
        self.mlp = MoE(config) if config.is_moe(layer) else MLP(config, config.intermediate_size)

    def forward(
        self,
        x: Tensor,
        branch: Tensor | None,
        rope: tuple[Tensor, Tensor],
        context: AttentionContext,
        trace: RoutingTrace,
        rows: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x (T, hidden) float32 and the branch output still to be added (None before the first block) -> the
        same; only of `rows` where the others are wanted for nothing but their keys and values."""
        if branch is None:
            normed = rms_norm(x, self.input_layernorm, self.eps)
        else:
            x, normed = add_rms_norm(x, branch, self.input_layernorm, self.eps)
        attended = self.self_attn(normed, rope, context)
        if rows is not None:
            x, attended = x[rows], attended[rows]
        x, normed = add_rms_norm(x, attended, self.post_attention_layernorm, self.eps)
        mlp = self.mlp
        return x, mlp(normed, trace) if isinstance(mlp, MoE) else mlp(normed)
