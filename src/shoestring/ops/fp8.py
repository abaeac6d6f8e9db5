"""FP8 training as numerics (arXiv 2412.19437, section 3.3): operands are E4M3 with a float32 scale for every
1 x 128 tile of activations and gradients and every 128 x 128 block of weights, tiles lie along the dimension
that a product sums over, and sums are float32. Emulated: values times scales go through a float32 product,
which differs from the scaled sum of 128-wide parts (`product_plain`) by float32 rounding only. It says what
FP8 costs in accuracy, not what it gains in time.

Left out of the recipe: the input of the matrix after attention is tiled as all others (published: E5M6 with
power-of-two scales), and what the SwiGLU of an expert reads is not kept in FP8."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.experts import Layout, combine, group_spans, spread
from shoestring.ops.native import library_for
from shoestring.ops.swiglu import silu_mul

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0  # of E4M3
FLOOR = 1e-4  # the smallest amax: an all-zero tile still has a scale
TILE = 128
BLOCK = (TILE, TILE)


class Scaled(NamedTuple):
    """E4M3 values, and the float32 factor of each tile or block: what they stand for is the product."""

    values: Tensor
    scales: Tensor


def quantize_tiles(x: Tensor, power_of_two: bool = False) -> Scaled:
    """x (..., K) in tiles of 128 along K, the last as long as it is -> values (..., K), scales (..., ceil(K /
    128)). `power_of_two` rounds every scale up to one (the ue8m0 format)."""
    tiles = F.pad(x.float(), (0, -x.shape[-1] % TILE)).unflatten(-1, (-1, TILE))
    scales = _scales(tiles.abs().amax(-1), power_of_two)
    values = _rounded(tiles / scales[..., None]).flatten(-2)
    return Scaled(values[..., : x.shape[-1]], scales)


def dequantize_tiles(x: Scaled) -> Tensor:
    """-> (..., K) float32."""
    return x.values.float().mul_(x.scales.repeat_interleave(TILE, -1)[..., : x.values.shape[-1]])


def quantize_blocks(weight: Tensor, power_of_two: bool = False) -> Scaled:
    """weight (..., N, K) in blocks of 128 x 128, cut at the edges -> values (..., N, K), scales (...,
    ceil(N / 128), ceil(K / 128))."""
    blocks = _blocks(weight.float())
    scales = _scales(blocks.abs().amax((-3, -1)), power_of_two)
    values = _rounded(blocks / scales[..., :, None, :, None]).flatten(-2).flatten(-3, -2)
    return Scaled(values[..., : weight.shape[-2], : weight.shape[-1]], scales)


def block_scales(weight: Tensor) -> Tensor:
    """The scales of `quantize_blocks` alone."""
    return _scales(_blocks(weight.float()).abs().amax((-3, -1)), power_of_two=False)


def dequantize_blocks(weight: Scaled, block: tuple[int, int] = BLOCK) -> Tensor:
    """-> (..., N, K) float32."""
    rows, columns = weight.values.shape[-2:]
    scales = weight.scales.float().repeat_interleave(block[1], -1)[..., :columns]
    return weight.values.float().mul_(scales.repeat_interleave(block[0], -2)[..., :rows, :])


def fp8_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear for x (..., K) and weight (N, K), with E4M3 operands in this product and in both of its
    gradients. The output has x's dtype."""
    return _FP8Linear.apply(x, weight, bias)  # type: ignore[return-value]


def fp8_grouped_linear(x: Tensor, weight: Tensor, ends: Sequence[int]) -> Tensor:
    """`ops.experts.grouped_linear` in these numerics: x (M, K) sorted by group, weight (G, N, K), ends (G,)
    -> (M, N). Tiles along tokens begin anew in each group."""
    return _FP8GroupedLinear.apply(x, weight, ends)  # type: ignore[return-value]


def fp8_grouped_experts(x: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """`ops.experts.grouped_experts` with these products."""
    layout = Layout.of(ids, len(gate_up))
    made = silu_mul(fp8_grouped_linear(spread(x, layout), gate_up, layout.ends))
    return combine(fp8_grouped_linear(made, down, layout.ends), layout, weights)


def product_plain(a: Scaled, b: Scaled) -> Tensor:
    """The reference, as tensor cores do it: a (M, K) in tiles, b (N, K) in tiles or blocks -> a b^T (M, N).
    The FP8 values of 128 places of K are multiplied and summed in float32, and scaled when they are added."""
    rows = len(b.values)
    b_scales = b.scales if len(b.scales) == rows else b.scales.repeat_interleave(TILE, 0)[:rows]
    total = torch.zeros(len(a.values), rows, device=a.values.device)
    for i, begin in enumerate(range(0, a.values.shape[1], TILE)):
        part = slice(begin, begin + TILE)
        product = a.values[:, part].float() @ b.values[:, part].float().t()
        total += product * a.scales[:, i, None] * b_scales[None, :, i]
    return total


def _scales(amax: Tensor, power_of_two: bool) -> Tensor:
    scales = amax.clamp(min=FLOOR) / LARGEST
    if power_of_two:
        mantissa, exponent = torch.frexp(scales)  # mantissa in [0.5, 1): 0.5 is a power of two already
        scales = torch.ldexp(torch.ones_like(scales), exponent - (mantissa == 0.5).int())
    return scales


def _rounded(x: Tensor) -> Tensor:
    """To E4M3, nearest even. Saturates: torch makes what is too large NaN."""
    return x.clamp(-LARGEST, LARGEST).to(E4M3)


def _blocks(weight: Tensor) -> Tensor:
    """(..., N, K) -> (..., N / 128, 128, K / 128, 128), zeros at the edges."""
    rows, columns = weight.shape[-2:]
    padded = F.pad(weight, (0, -columns % TILE, 0, -rows % TILE))
    return padded.unflatten(-1, (-1, TILE)).unflatten(-3, (-1, TILE))


# What an FP8 product reads, in float32: quantized and dequantized at once, where there is a kernel for it.


def rounded_rows(x: Tensor) -> Tensor:
    """x (M, K) -> (M, K) float32 in tiles along K."""
    return _rounded_by("fp8_rows", x) if library_for(x) else dequantize_tiles(quantize_tiles(x))


def rounded_columns(x: Tensor) -> Tensor:
    """x (M, K) -> (M, K) float32 in tiles along M."""
    return _rounded_by("fp8_columns", x) if library_for(x) else dequantize_tiles(quantize_tiles(x.t())).t()


def rounded_blocks(weight: Tensor) -> Tensor:
    """weight (..., N, K) -> (..., N, K) float32 in blocks of 128 x 128."""
    if library_for(weight) is None:
        return dequantize_blocks(quantize_blocks(weight))
    return _rounded_by("fp8_blocks", weight.view(-1, *weight.shape[-2:])).view(weight.shape)


def _rounded_by(kernel: str, x: Tensor) -> Tensor:
    library = library_for(x)
    assert library is not None
    x = x.contiguous()
    out = torch.empty(x.shape)
    library.call(kernel, (x,), x, out, *x.shape)
    return out


def _weight_gradient(grad: Tensor, rows: Tensor) -> Tensor:
    """grad (T, N), rows (T, K) as the forward pass rounded them -> grad^T rows (N, K) float32. The sum goes
    over the tokens, so both are tiled along them: the activation is rounded a second time."""
    return torch.mm(rounded_columns(grad).t(), rounded_columns(rows))


class _FP8Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.bias_dtype = None if bias is None else bias.dtype
        out = F.linear(rounded_rows(x.reshape(-1, x.shape[-1])), rounded_blocks(weight))
        out = out if bias is None else out + bias.float()
        return out.to(x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(rounded_rows(grad), rounded_blocks(weight)).to(x.dtype).view(x.shape)
        if ctx.needs_input_grad[1]:
            rows = rounded_rows(x.reshape(-1, x.shape[-1]))
            grad_weight = _weight_gradient(grad, rows).to(weight.dtype)
        if ctx.bias_dtype is not None and ctx.needs_input_grad[2]:
            grad_bias = grad.float().sum(0).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias


class _FP8GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, ends: Sequence[int]) -> Tensor:  # type: ignore[override]
        ctx.spans = group_spans(ends)
        ctx.save_for_backward(x, weight)
        rows, matrices = rounded_rows(x), rounded_blocks(weight)
        out = x.new_empty(len(x), weight.shape[1])
        for group, begin, end in ctx.spans:
            out[begin:end] = torch.mm(rows[begin:end], matrices[group].t())
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x, tiles, matrices = torch.empty_like(x), rounded_rows(grad), rounded_blocks(weight)
            for group, begin, end in ctx.spans:
                grad_x[begin:end] = torch.mm(tiles[begin:end], matrices[group])
        if ctx.needs_input_grad[1]:
            grad_weight, rows = torch.zeros_like(weight), rounded_rows(x)
            for group, begin, end in ctx.spans:
                grad_weight[group] = _weight_gradient(grad[begin:end], rows[begin:end])
        return grad_x, grad_weight, None
