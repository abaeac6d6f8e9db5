"""The network: token ids to hidden states. The head is applied apart, only where logits are needed."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shoestring.models.attention import Attention, AttentionContext
from shoestring.models.block import Block
from shoestring.models.cache import CausalRows
from shoestring.models.config import ModelConfig
from shoestring.models.layers_call import NetworkCall
from shoestring.models.linear import Linear
from shoestring.models.mla import LatentAttention
from shoestring.models.moe import MoE, Router, RoutingTrace
from shoestring.models.mtp import MTPModule
from shoestring.models.names import public_tensors
from shoestring.models.rope import rope_factor, rope_tables, scaled_inverse_frequencies, softmax_scale
from shoestring.ops.head import Head
from shoestring.ops.norm import add_rms_norm
from shoestring.ops.quantized import Quantized, quantized_logits, quantized_rows
from shoestring.ops.sample import sample

PACK_UP_TO = 2 << 30  # bytes of bf16 weights; above, a second copy of them might not fit beside the first


class Output(NamedTuple):
    """hidden (..., hidden_size) after the final norm. Of the mixture layers that ran: routing (T, layers, K)
    the experts of each token; where gradients are asked for, loads (layers, E) the tokens of each expert and
    aux_loss () the sequence-wise balance loss without its weight. None without experts."""

    hidden: Tensor
    routing: Tensor | None = None
    loads: Tensor | None = None
    aux_loss: Tensor | None = None


class Transformer(nn.Module):
    """Decoder of the Llama, Qwen2, Qwen3 and DeepSeek-V2/V3 families."""

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
        first = config.num_hidden_layers
        self.mtp = nn.ModuleList(
            MTPModule(config, first + depth) for depth in range(config.num_nextn_predict_layers)
        )
        self._head = Head()
        self._call = NetworkCall()
        # where the model is quantised for serving (models.quantize): one matrix if the head is tied
        self.quantized_embedding: Quantized | None = None
        self.quantized_head: Quantized | None = None
        packs = 2 * sum(p.numel() for p in self.parameters()) <= PACK_UP_TO
        for module in self.modules():
            if isinstance(module, Linear):
                module.packs = packs
        self.rope_factor = rope_factor(config)
        self.register_buffer("inv_freq", torch.empty(0), persistent=False)
        self._set_frequencies()

    def _set_frequencies(self) -> None:
        values = scaled_inverse_frequencies(self.config)
        self.inv_freq = torch.tensor(values, dtype=torch.float32, device=self.inv_freq.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._set_frequencies()  # .to(bfloat16) would round them, .to_empty() would leave them unset
        return self

    def stretch(self, config: ModelConfig) -> None:
        """Take a config that differs in its window and rope scaling alone."""
        self.config, self.rope_factor = config, rope_factor(config)
        for module in self.modules():
            if isinstance(module, Attention | LatentAttention):
                module.scale = softmax_scale(config)
        self._set_frequencies()

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
            for router in self.routers():
                router.e_score_correction_bias.zero_()

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        cache: AttentionContext | None = None,
        routing: Tensor | None = None,
    ) -> Output:
        """ids and positions (B, T), or flat (T,) with a `cache` that knows the rows -> Output.

        Without a cache each row is plain causal text. `routing` (T, layers, K) replays a recorded choice of
        experts; the weights are the router's own, so it learns.
        """
        if routing is not None and not self.config.n_routed_experts:
            raise ValueError("routing was given to a model without experts")
        context = cache if cache is not None else CausalRows(*_rows(ids))
        trace = RoutingTrace(routing, context.row_of)
        x = self.embed(ids.reshape(-1)).float()
        rope = rope_tables(self.inv_freq, positions.reshape(-1), self.rope_factor)
        made = self._call.run(self.layers, x, rope, context, trace)
        x, branch = made or self._each_layer(x, rope, context, trace)
        _, x = add_rms_norm(x, branch, self.norm, self.config.rms_norm_eps)
        return _output(x if ids.dim() == 1 else x.view(*ids.shape, -1), trace)

    def _each_layer(
        self, x: Tensor, rope: tuple[Tensor, Tensor], context: AttentionContext, trace: RoutingTrace
    ) -> tuple[Tensor, Tensor]:
        branch: Tensor | None = None
        for layer in self.layers:
            x, branch = layer(x, branch, rope, context, trace)
        assert branch is not None, "a network has at least one layer"
        return x, branch

    def predict_further(
        self,
        depth: int,
        hidden: Tensor,
        next_ids: Tensor,
        positions: Tensor,
        cache: AttentionContext,
        routing: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Output:
        """MTP module `depth` (from 0): flat hidden (T, h) of the model or of the module before, and the ids
        (T,) of the token after the one each state was made from -> hidden (T, h) for the head, whose logits
        are of the token after that. `rows`: of these alone."""
        trace = RoutingTrace(routing, cache.row_of)
        rope = rope_tables(self.inv_freq, positions, self.rope_factor)
        hidden = self.mtp[depth](hidden, self.embed(next_ids), rope, cache, trace, rows)
        return _output(hidden, trace)

    def embed(self, ids: Tensor) -> Tensor:
        """ids (T,) -> (T, hidden_size) in the weights' dtype."""
        if self.quantized_embedding is not None:
            return quantized_rows(self.quantized_embedding, ids, self.dtype)
        return F.embedding(ids, self.embed_tokens)

    def head(self, hidden: Tensor) -> Tensor:
        """hidden (..., hidden_size) -> logits (..., V) float32."""
        if self.quantized_head is not None:
            return quantized_logits(hidden, self.quantized_head)
        return self._head.logits(hidden, self.head_weight)

    def draw(self, hidden: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """hidden (R, hidden_size) -> token ids and their logprobs (R,): `ops.sample.sample` of the logits,
        which need not be written for it."""
        if self.quantized_head is not None:
            return sample(quantized_logits(hidden, self.quantized_head), uniform, temperature)
        return self._head.draw(hidden, self.head_weight, uniform, temperature)

    @property
    def dtype(self) -> torch.dtype:
        """Of what passes between its layers."""
        return self.norm.dtype

    @property
    def device(self) -> torch.device:
        return self.norm.device

    @property
    def is_quantized(self) -> bool:
        return self.quantized_head is not None

    @property
    def head_weight(self) -> Tensor:
        """(V, hidden_size); the embedding where the head is tied to it."""
        return self.embed_tokens if self.lm_head is None else self.lm_head

    @torch.no_grad()
    def take(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """New numbers of every public name; what lies in the network's own memory is there already."""
        own = dict(self.public_tensors())
        for name, tensor in weights:
            mine = own.pop(name)
            if mine.data_ptr() != tensor.data_ptr():
                mine.copy_(tensor)
        assert not own, f"missing: {sorted(own)[:3]}"
        self.renew_copies()

    def renew_copies(self) -> None:
        """The copies that decoding has made of weights, in its own order, are made anew where the weights
        have changed; else the next token would wait for that."""
        if not self.is_quantized:
            self._head.renew(self.head_weight)
        for module in self.modules():
            if isinstance(module, Linear | LatentAttention | Router):
                module.renew()

    def keep_no_copies(self) -> None:
        """Where the weights lie in several processes and are put together for one pass."""
        self._head.keep_none()
        for module in self.modules():
            if isinstance(module, Linear):
                module.packs = False
            elif isinstance(module, LatentAttention | Router):
                module.keep_none()

    def routers(self) -> list[Router]:
        """Of the mixture layers in order, MTP modules' after the main ones."""
        blocks = [*self.layers, *(module.block for module in self.mtp)]
        return [block.mlp.gate for block in blocks if isinstance(block.mlp, MoE)]

    def public_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(public checkpoint name, view of the live tensor). Fused matrices appear as their public parts,
        so that copying into a view loads it and reading one saves it. Tied heads appear once, as the
        embedding; what MTP modules share with the main model appears once too."""
        return public_tensors(self)


def _output(hidden: Tensor, trace: RoutingTrace) -> Output:
    if not trace.chosen:
        return Output(hidden)
    loads = trace.loads() if torch.is_grad_enabled() else None
    return Output(hidden, trace.routing(), loads, trace.aux_loss)


def _rows(ids: Tensor) -> tuple[int, int]:
    if ids.dim() != 2:
        raise ValueError(
            f"ids of shape {tuple(ids.shape)} need a cache that knows the rows; plain text is (B, T)"
        )
    return ids.shape[0], ids.shape[1]
