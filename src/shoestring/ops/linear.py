"""x W^T + b: with a packed weight where nothing is learned, and with a backward pass that spares a slow
product where something is."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.native import Library, library_for

PACKED_ROWS = 512  # more rows than this make up for reading the weight in its plain order


def can_pack(x: Tensor) -> bool:
    """Whether `packed_linear` takes x: bf16 on a CPU with torch's oneDNN, few rows."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.shape[0] <= PACKED_ROWS
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def pack_weight(weight: Tensor) -> Tensor:
    """oneDNN's own order for products of some hundred rows. Given the plain weight, oneDNN reorders it anew
    in each product, which is a quarter of the time at 64 to 256 rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, 256)


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """x (T, K), packed from (N, K) -> (T, N)."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear for x (T, K), with the weight's gradient by `weight_gradient`."""
    library = library_for(x, weight) if x.dtype == weight.dtype == torch.bfloat16 else None
    if library is None or not (torch.is_grad_enabled() and weight.requires_grad):
        return F.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)  # type: ignore[return-value]


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad (T, N), x (T, K) -> grad^T x (N, K). A bf16 product with a transposed operand took about twice the
    time of the others of its size, so the smaller operand is turned round first (its own pass, some percent
    of the product)."""
    library = library_for(grad, x) if grad.dtype == x.dtype == torch.bfloat16 else None
    if library is None:
        return torch.mm(grad.t(), x)
    (tokens, wide), narrow = grad.shape, x.shape[1]
    if tokens * wide <= tokens * narrow + narrow * wide:
        return torch.mm(_transposed(library, grad), x)
    return _transposed(library, torch.mm(_transposed(library, x), grad))


def _transposed(library: Library, x: Tensor) -> Tensor:
    x = x.contiguous()
    # not padded to whole cache lines: of rows that lie apart torch 2.13's bf16 product reads what is between
    out = x.new_empty(x.shape[1], x.shape[0])
    library.call("transpose", (x,), x, out, *x.shape)
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad_x = torch.mm(grad, weight) if ctx.needs_input_grad[0] else None
        return grad_x, weight_gradient(grad, x), grad.sum(0) if ctx.has_bias else None


def low_rank_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    spans: Sequence[tuple[int, int]],
    scale: float,
    pairs: Sequence[Tensor],
) -> Tensor:
    """F.linear for x (T, K) and a weight (N, K) whose rows spans[i] are some constant + scale B A, with pairs
    A_0 (r, K), B_0 (N_0, r), A_1, B_1, ... float32. Gradients go to x and the pairs; the weight, which
    already holds the sum, gets none, nor does the bias."""
    return _LowRankLinear.apply(x, weight, bias, spans, scale, *pairs)  # type: ignore[return-value]


class _LowRankLinear(torch.autograd.Function):
    """dA = scale (g B)^T x and dB = scale g^T (x A^T): two products as thin as the rank in place of g^T x."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        spans: Sequence[tuple[int, int]],
        scale: float,
        *pairs: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *pairs)
        ctx.spans, ctx.scale = spans, scale
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, weight, *pairs = ctx.saved_tensors
        grads: list[Tensor] = []
        for (start, stop), a, b in zip(ctx.spans, pairs[::2], pairs[1::2], strict=True):
            own = grad[:, start:stop]
            low = torch.mm(own, b.to(grad.dtype))
            grads.append(weight_gradient(low, x).float().mul_(ctx.scale))
            low = torch.mm(x, a.to(x.dtype).t())
            grads.append(weight_gradient(own, low).float().mul_(ctx.scale))
        grad_x = torch.mm(grad, weight) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, None, None, *grads
