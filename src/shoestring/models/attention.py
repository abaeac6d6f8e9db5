"""Attention layers: grouped-query (Llama, Qwen2, Qwen3). What a query may see is the context's business, not
the layer's. `models.mla` has the latent kind."""

import torch
from torch import Tensor, nn

from shoestring.models.config import ModelConfig
from shoestring.models.linear import Linear
from shoestring.models.rope import softmax_scale
from shoestring.ops.block import PagedStep
from shoestring.ops.latent_heads import LatentBlocks
from shoestring.ops.norm import rms_norm
from shoestring.ops.rotary import apply_rope, split_rope


class AttentionContext:
    """Which keys each query sees, and where keys and values are kept: plain causal rows, packed rows with a
    shared prompt, a prefill or a decode cache. One instance serves one forward pass; `layer` tells the calls
    apart.

    Latent attention hands every layer's latents to `keep_latent`, which a prefill answers. Where `absorbs` is
    set (a decode cache of latents) it asks for `latent_blocks`, for the kernel, and where there are none
    calls `attend_latent` instead of `attend`."""

    absorbs = False

    @property
    def row_of(self) -> Tensor | None:
        """(T,) int64, the row of each token, rows numbered in the tokens' order; None where rows are not
        whole texts (decode)."""
        return None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """q (T, H, D), k (T, Hkv, D), v (T, Hkv, Dv), rotated, T the tokens of this forward -> (T, H, Dv)."""
        raise NotImplementedError

    def paged_step(self) -> PagedStep | None:
        """Where the keys and values of all layers lie, for a pass that one native call makes of all layers;
        None: each layer asks `attend`."""
        return None

    def keep_latent(self, layer: int, latent: Tensor) -> None:
        """latent (T, kv_lora_rank + qk_rope_head_dim): the normed latent, then the rotated key."""

    def latent_blocks(self, layer: int) -> LatentBlocks | None:
        raise NotImplementedError

    def attend_latent(self, layer: int, q: Tensor, latent: Tensor, rank: int, scale: float) -> Tensor:
        """q (T, H, rank + qk_rope_head_dim) and the same tokens' latents -> (T, H, rank), the weighted sum of
        latents."""
        raise NotImplementedError


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.scale = softmax_scale(config)
        self.num_heads, self.num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.eps = config.rms_norm_eps
        # q, k and v share one matrix: three narrow products run at half the speed of one on a CPU
        rows = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        self.qkv_proj = Linear(config.hidden_size, rows, bias=config.attention_bias)
        self.o_proj = Linear(
            self.num_heads * self.head_dim, config.hidden_size, bias=config.attention_output_bias
        )
        self.q_norm = nn.Parameter(torch.ones(self.head_dim)) if config.qk_norm else None
        self.k_norm = nn.Parameter(torch.ones(self.head_dim)) if config.qk_norm else None

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], context: AttentionContext) -> Tensor:
        """x (T, hidden) -> (T, hidden)."""
        heads = self.qkv_proj(x).view(x.shape[0], -1, self.head_dim)
        if self.q_norm is None or self.k_norm is None:
            q, k, v = split_rope(heads, self.num_heads, self.num_kv_heads, *rope)
        else:
            q, k, v = heads.split((self.num_heads, self.num_kv_heads, self.num_kv_heads), dim=1)
            q = apply_rope(rms_norm(q, self.q_norm, self.eps), *rope)
            k = apply_rope(rms_norm(k, self.k_norm, self.eps), *rope)
        out = context.attend(self.layer, q, k, v, self.scale)
        return self.o_proj(out.reshape(x.shape[0], -1))
