"""Multi-head latent attention (arXiv 2412.19437, eq. 1-11): keys and values are made from a latent of
`kv_lora_rank` numbers a token and one rotary key that all heads share. Training and prefill expand it to
whole heads; decode absorbs the up-projections into the queries and the output, and reads the latents
alone."""

import torch
from torch import Tensor, nn

from shoestring.models.attention import AttentionContext
from shoestring.models.config import ModelConfig
from shoestring.models.linear import Linear
from shoestring.models.rope import softmax_scale
from shoestring.ops.latent_heads import HeadWidths, latent_decode, latent_heads
from shoestring.ops.norm import rms_norm
from shoestring.ops.packed import PackedCopy
from shoestring.ops.rotary import apply_rope, apply_rope_interleaved

LATENT_EPS = 1e-6  # of the latents' norms: fixed in the published code, whatever rms_norm_eps is


class LatentAttention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.kv_lora_rank is not None
        self.layer, self.heads, self.scale = layer, config.num_attention_heads, softmax_scale(config)
        nope, turned, value = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
        self.widths = HeadWidths(nope, turned, value, config.rope_interleave)
        self.rank, self.query_rank = config.kv_lora_rank, config.q_lora_rank
        self.rotate = apply_rope_interleaved if config.rope_interleave else apply_rope
        # what reads x shares one matrix: the queries, or their down-projection, and the latent with the key
        queries = self.heads * config.head_dim
        first = queries if self.query_rank is None else self.query_rank
        self.parts = (first, self.rank, turned)
        self.a_proj = Linear(config.hidden_size, sum(self.parts), bias=config.attention_bias)
        self.q_a_layernorm = None if self.query_rank is None else nn.Parameter(torch.ones(self.query_rank))
        self.q_b_proj = None if self.query_rank is None else Linear(self.query_rank, queries, bias=False)
        self.kv_a_layernorm = nn.Parameter(torch.ones(self.rank))
        self.kv_b_proj = Linear(self.rank, self.heads * (nope + value), bias=False)
        self._up = PackedCopy(self._halves)
        self.o_proj = Linear(self.heads * value, config.hidden_size, bias=config.attention_output_bias)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], context: AttentionContext) -> Tensor:
        """x (T, hidden) -> (T, hidden)."""
        q, latent, key = self.a_proj(x).split_with_sizes(self.parts, dim=-1)
        if self.q_a_layernorm is not None and self.q_b_proj is not None:
            q = self.q_b_proj(rms_norm(q, self.q_a_layernorm, LATENT_EPS))
        q = q.reshape(x.shape[0], self.heads, -1).contiguous()  # without a latent of their own it is a part
        blocks = context.latent_blocks(self.layer) if context.absorbs else None
        if blocks is not None:
            norm, up = (self.kv_a_layernorm, LATENT_EPS), self.absorbed()
            out = latent_decode(q, latent, key, norm, rope, up, blocks, self.widths, self.scale)
            return self.o_proj(out.view(x.shape[0], -1))
        latent = rms_norm(latent, self.kv_a_layernorm, LATENT_EPS)
        if torch.is_grad_enabled():
            out = self._expanded(q, latent, key, rope, context)
        else:
            kept = torch.cat((latent, self.rotate(key[:, None], *rope)[:, 0]), dim=-1)
            if context.absorbs:
                out = self._absorbed(q, kept, rope, context)
            else:
                context.keep_latent(self.layer, kept)
                out = self._expanded(q, latent, key, rope, context)
        return self.o_proj(out.reshape(x.shape[0], -1))

    def absorbed(self) -> tuple[Tensor, Tensor]:
        """W_UK (H, rank, nope) and W_UV (H, value, rank)."""
        return self._up.of(self.kv_b_proj.weight)

    def renew(self) -> None:
        self._up.renew(self.kv_b_proj.weight)

    def keep_none(self) -> None:
        self._up.keeps = False

    def _expanded(
        self, q: Tensor, latent: Tensor, key: Tensor, rope: tuple[Tensor, Tensor], context: AttentionContext
    ) -> Tensor:
        """Whole keys and values for every head -> (T, H, v_head_dim)."""
        expanded = self.kv_b_proj(latent).view(len(latent), self.heads, -1)
        q, k, v = latent_heads(q, expanded, key, *rope, self.widths)
        return context.attend(self.layer, q, k, v, self.scale)

    def _absorbed(
        self, q: Tensor, latent: Tensor, rope: tuple[Tensor, Tensor], context: AttentionContext
    ) -> Tensor:
        """q_nope W_UK meets the latents directly, and their weighted sum goes through W_UV: attention with
        one key head of kv_lora_rank + qk_rope_head_dim -> (T, H, v_head_dim)."""
        keys_up, values_up = self.absorbed()
        q_nope, q_rope = q.split((self.widths.nope, self.widths.rope), dim=-1)
        q = torch.bmm(q_nope.transpose(0, 1), keys_up.transpose(1, 2)).transpose(0, 1)
        q = torch.cat((q, self.rotate(q_rope, *rope)), dim=-1)
        mixed = context.attend_latent(self.layer, q, latent, self.rank, self.scale)
        return torch.bmm(mixed.transpose(0, 1), values_up.transpose(1, 2)).transpose(0, 1)

    def _halves(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """W_UK (H, rank, nope), a copy, and W_UV (H, value, rank), a part of the weight."""
        by_head = weight.view(self.heads, -1, self.rank)
        keys, values = by_head[:, : self.widths.nope], by_head[:, self.widths.nope :]
        return keys.transpose(1, 2).contiguous(), values
