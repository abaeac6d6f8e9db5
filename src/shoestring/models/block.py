"""One layer of the network."""

import torch
from torch import Tensor, is_grad_enabled, nn

from shoestring.models.attention import Attention, AttentionContext
from shoestring.models.config import ModelConfig
from shoestring.models.linear import Linear, is_watched
from shoestring.models.mla import LatentAttention
from shoestring.models.moe import MLP, MoE, RoutingTrace
from shoestring.ops.block import BlockCalls, BlockShape, Product, fits_block
from shoestring.ops.few import FEW_ROWS
from shoestring.ops.native import library_for
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
        # the same in native calls: `_calls` for the tensors that lie at `_places`, `_lasting` for quantised
        # ones, which stay where they are
        self._calls: BlockCalls | None = None
        self._places: tuple[int, ...] = ()
        self._lasting: BlockCalls | None = None

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
        calls = self.native_calls(x) if rows is None else None
        if calls is not None:
            x, q, k, v = calls.inputs(x, branch, rope, self.input_layernorm.dtype)
            return calls.outputs(x, context.attend(self.self_attn.layer, q, k, v, self.self_attn.scale))
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

    def native_calls(self, x: Tensor) -> BlockCalls | None:
        """The native calls that do the same, where the layer is a plain one and nothing is learned: of one
        that is quantised or lies in panels for any number of tokens, else for a few."""
        attention, mlp = self.self_attn, self.mlp
        if is_grad_enabled() or not (isinstance(attention, Attention) and isinstance(mlp, MLP)):
            return None
        linears = attention.qkv_proj, attention.o_proj, mlp.gate_up_proj, mlp.down_proj
        if any(map(is_watched, (attention, mlp, *linears))):
            return None
        if self._lasting is not None:
            return self._lasting
        quantized = all(linear.quantized is not None for linear in linears)
        few = x.shape[0] <= FEW_ROWS and linears[0].numerics != "fp8"
        if not (quantized or few or all(linear.reads_panels for linear in linears)):
            return None
        norms = self.input_layernorm, self.post_attention_layernorm, attention.q_norm, attention.k_norm
        weights = [linear.weight for linear in linears]
        places = (*(t.data_ptr() for t in (*weights, *norms[:2])), *(t._version for t in weights))
        if places != self._places:
            self._calls, self._places = self._made_calls(attention, linears, norms), places
        self._lasting = self._calls if quantized else None
        return self._calls

    def _made_calls(
        self, attention: Attention, linears: tuple[Linear, ...], norms: tuple[Tensor | None, ...]
    ) -> BlockCalls | None:
        products = [
            Product(linear.quantized or linear.panels() or linear.weight, linear.bias) for linear in linears
        ]
        shape = BlockShape(attention.num_heads, attention.num_kv_heads, attention.head_dim, self.eps)
        dtypes = {product.weight.dtype for product in products if isinstance(product.weight, Tensor)}
        library = library_for(self.input_layernorm)
        one_dtype = dtypes <= {self.input_layernorm.dtype}
        if library is None or not one_dtype or not fits_block(products, shape):
            return None
        return BlockCalls(library, shape, products, norms)
