"""The network: token ids to hidden states. The head is applied apart, only where logits are needed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shoestring.models.attention import Attention, AttentionContext
from shoestring.models.cache import CausalRows
from shoestring.models.config import ModelConfig, scaled_inverse_frequencies
from shoestring.models.linear import Linear
from shoestring.models.rope import rope_tables
from shoestring.ops.head import Head
from shoestring.ops.norm import add_rms_norm, rms_norm
from shoestring.ops.swiglu import silu_mul

PACK_UP_TO = 2 << 30  # bytes of bf16 weights; above, a second copy of them might not fit beside the first


class Output(NamedTuple):
    """hidden (..., hidden_size) after the final norm. routing, loads, aux_loss are None without experts."""

    hidden: Tensor
    routing: Tensor | None = None
    loads: Tensor | None = None
    aux_loss: Tensor | None = None


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)); gate and up share one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(silu_mul(self.gate_up_proj(x)))


class Block(nn.Module):
    """Pre-norm residual block: x += attention(norm(x)); x += mlp(norm(x)).

    The residual stream x is float32 whatever the weights are: rounding it to bf16 after every branch is what
    made two ways of computing the same logprob differ most. The last branch's output is handed on unadded, so
    that each sum is made in one pass with the norm that follows it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.input_layernorm = nn.Parameter(torch.ones(config.hidden_size))
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = nn.Parameter(torch.ones(config.hidden_size))
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, branch: Tensor | None, rope: tuple[Tensor, Tensor], context: AttentionContext
    ) -> tuple[Tensor, Tensor]:
        """x (T, hidden) float32 and the branch output still to be added (None before the first block) -> the
        same."""
        if branch is None:
            normed = rms_norm(x, self.input_layernorm, self.eps)
        else:
            x, normed = add_rms_norm(x, branch, self.input_layernorm, self.eps)
        x, normed = add_rms_norm(
            x, self.self_attn(normed, rope, context), self.post_attention_layernorm, self.eps
        )
        return x, self.mlp(normed)


class Transformer(nn.Module):
    """Decoder of the Llama, Qwen2 and Qwen3 families."""

    inv_freq: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Parameter(torch.empty(config.vocab_size, config.hidden_size))
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = nn.Parameter(torch.ones(config.hidden_size))
        self.lm_head = (
            None
            if config.tie_word_embeddings
            else nn.Parameter(torch.empty(config.vocab_size, config.hidden_size))
        )
        self._head = Head()
        packs = 2 * sum(p.numel() for p in self.parameters()) <= PACK_UP_TO
        for module in self.modules():
            if isinstance(module, Linear):
                module.packs = packs
        self.register_buffer("inv_freq", torch.empty(0), persistent=False)
        self._set_frequencies()

    def _set_frequencies(self) -> None:
        values = scaled_inverse_frequencies(self.config)
        self.inv_freq = torch.tensor(values, dtype=torch.float32, device=self.inv_freq.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._set_frequencies()  # .to(bfloat16) would round them, .to_empty() would leave them unset
        return self

    def init_weights(self, seed: int) -> None:
        """Normal weights of std `initializer_range`, norms one, biases zero; the same for the same seed."""
        generator = torch.Generator(device="cpu").manual_seed(seed)
        with torch.no_grad():
            for name, p in self.named_parameters():
                if name.endswith("bias"):
                    p.zero_()
                elif p.dim() == 1:
                    p.fill_(1.0)
                else:
                    p.copy_(torch.randn(p.shape, generator=generator) * self.config.initializer_range)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        cache: AttentionContext | None = None,
        routing: Tensor | None = None,
    ) -> Output:
        """ids and positions (B, T), or flat (T,) with a `cache` that knows the rows -> Output.

        Without a cache each row is plain causal text. `routing` replays a recorded choice of experts.
        """
        if routing is not None:
            raise ValueError("routing was given to a model without experts")
        context = cache if cache is not None else CausalRows(*_rows(ids))
        x = F.embedding(ids.reshape(-1), self.embed_tokens).float()
        rope = rope_tables(self.inv_freq, positions.reshape(-1))
        branch: Tensor | None = None
        for layer in self.layers:
            x, branch = layer(x, branch, rope, context)
        assert branch is not None, "a network has at least one layer"
        _, x = add_rms_norm(x, branch, self.norm, self.config.rms_norm_eps)
        return Output(hidden=x.view(*ids.shape, -1))

    def head(self, hidden: Tensor) -> Tensor:
        """hidden (..., hidden_size) -> logits (..., V) float32."""
        return self._head.logits(hidden, self.head_weight)

    def draw(self, hidden: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """hidden (R, hidden_size) -> token ids and their logprobs (R,): `ops.sample.sample` of the logits,
        which need not be written for it."""
        return self._head.draw(hidden, self.head_weight, uniform, temperature)

    @property
    def head_weight(self) -> Tensor:
        """(V, hidden_size); the embedding where the head is tied to it."""
        return self.embed_tokens if self.lm_head is None else self.lm_head

    def public_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(public checkpoint name, view of the live tensor). Fused matrices appear as their public parts,
        so that copying into a view loads it and reading one saves it. Tied heads appear once, as the
        embedding."""
        c = self.config
        heads = (c.num_attention_heads * c.head_dim,) + (c.num_key_value_heads * c.head_dim,) * 2
        yield "model.embed_tokens.weight", self.embed_tokens.detach()
        for i, block in enumerate(self.layers):
            assert isinstance(block, Block)
            prefix = f"model.layers.{i}."
            yield prefix + "input_layernorm.weight", block.input_layernorm.detach()
            attention = block.self_attn
            fused = (
                ("self_attn", ("q_proj", "k_proj", "v_proj"), attention.qkv_proj, heads),
                ("self_attn", ("o_proj",), attention.o_proj, (c.hidden_size,)),
                ("mlp", ("gate_proj", "up_proj"), block.mlp.gate_up_proj, (c.intermediate_size,) * 2),
                ("mlp", ("down_proj",), block.mlp.down_proj, (c.hidden_size,)),
            )
            for module, names, linear, sizes in fused:
                for kind, tensor in (("weight", linear.weight), ("bias", linear.bias)):
                    if tensor is not None:
                        for name, part in zip(names, tensor.detach().split(sizes), strict=True):
                            yield f"{prefix}{module}.{name}.{kind}", part
            if attention.q_norm is not None and attention.k_norm is not None:
                yield prefix + "self_attn.q_norm.weight", attention.q_norm.detach()
                yield prefix + "self_attn.k_norm.weight", attention.k_norm.detach()
            yield prefix + "post_attention_layernorm.weight", block.post_attention_layernorm.detach()
        yield "model.norm.weight", self.norm.detach()
        if self.lm_head is not None:
            yield "lm_head.weight", self.lm_head.detach()


def _rows(ids: Tensor) -> tuple[int, int]:
    if ids.dim() != 2:
        raise ValueError(
            f"ids of shape {tuple(ids.shape)} need a cache that knows the rows; plain text is (B, T)"
        )
    return ids.shape[0], ids.shape[1]
