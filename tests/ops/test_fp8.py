"""FP8 operands by hand-worked values, and the emulated products against the scaled sums they stand for."""

import shutil

import pytest
import torch
from torch.nn import functional as F

from shoestring.ops.experts import grouped_linear
from shoestring.ops.fp8 import (
    E4M3,
    Scaled,
    block_scales,
    dequantize_blocks,
    dequantize_tiles,
    fp8_grouped_linear,
    fp8_linear,
    product_plain,
    quantize_blocks,
    quantize_tiles,
    rounded_blocks,
    rounded_columns,
    rounded_rows,
)
from shoestring.ops.native import Library, find_library


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((got - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1.0, 1.0),
        (1.0625, 1.0),  # half way between 1 and 1.125: to the even mantissa
        (1.1875, 1.25),
        (-1.07, -1.125),
        (17.0, 16.0),
        (19.0, 20.0),
        (430.0, 416.0),  # the step is 32 up here
        (440.0, 448.0),
        (2.0**-6, 2.0**-6),  # the smallest normal number
        (0.001, 2.0**-9),  # subnormals are multiples of 2^-9
        (0.0009, 0.0),
    ],
)
def test_rounding_by_hand(value, rounded):
    x = torch.tensor([[448.0, value]])  # 448 makes the scale 1
    tiles = quantize_tiles(x)
    assert tiles.scales.tolist() == [[1.0]]
    assert tiles.values.dtype == E4M3
    assert tiles.values.float().tolist() == [[448.0, rounded]]


def test_the_largest_of_a_tile_is_448_whatever_its_size():
    x = noise(2000, 3) * torch.logspace(-3, 30, 2000)[:, None]
    tiles = quantize_tiles(x)
    assert (tiles.values.float().abs().amax(-1) == 448).all()  # division may round past it: never NaN
    assert torch.equal(tiles.scales[:, 0], x.abs().amax(-1) / 448)


def test_a_tile_of_almost_nothing_has_the_smallest_scale():
    tiles = quantize_tiles(torch.tensor([[0.0, 0.0], [1e-6, 0.0]]))
    assert torch.equal(tiles.scales, torch.full((2, 1), 1e-4) / 448)
    assert tiles.values.float().tolist() == [[0.0, 0.0], [4.5, 0.0]]  # 1e-6 * 448 / 1e-4 = 4.48


def test_tiles_have_their_own_scales_and_the_last_is_short():
    x = noise(5, 300)
    x[2, 128:256] *= 1000  # the neighbours of a loud tile lose nothing
    tiles = quantize_tiles(x)
    assert tiles.values.shape == (5, 300)
    assert tiles.scales.shape == (5, 3)
    for i in range(3):
        assert torch.equal(tiles.scales[:, i], x[:, 128 * i : 128 * (i + 1)].abs().amax(-1) / 448)
    off = (dequantize_tiles(tiles) - x).abs()
    assert (off <= x.abs() / 16 + tiles.scales.repeat_interleave(128, -1)[:, :300] * 2.0**-10).all()


def test_scales_that_are_powers_of_two():
    x = noise(64, 256)
    x[0, 0], x[0, 1:128] = 448 * 0.25, 0.0
    plain, round_up = quantize_tiles(x).scales, quantize_tiles(x, power_of_two=True).scales
    assert round_up[0, 0] == 0.25  # a power of two already
    assert torch.equal(round_up.log2(), plain.log2().ceil())
    assert torch.equal(quantize_blocks(x, power_of_two=True).scales.log2(), block_scales(x).log2().ceil())


def test_blocks_and_their_ragged_edges():
    w = noise(200, 300) * torch.logspace(-2, 2, 300)
    blocks = quantize_blocks(w)
    assert blocks.values.shape == w.shape
    assert torch.equal(blocks.scales, block_scales(w))
    back = dequantize_blocks(blocks)
    for i, rows in enumerate(w.split(128)):
        for j, part in enumerate(rows.split(128, dim=1)):
            scale = part.abs().max() / 448
            assert blocks.scales[i, j] == scale
            values = (part / scale).to(E4M3).float()
            here = slice(128 * i, 128 * i + 128), slice(128 * j, 128 * j + 128)
            assert torch.equal(blocks.values[here].float(), values)
            assert torch.equal(back[here], values * scale)
    assert blocks.scales.shape == (2, 3)


def test_blocks_of_another_size_are_read_too():
    values = noise(5, 7).to(E4M3)
    scales = torch.arange(1.0, 13.0).view(3, 4)
    back = dequantize_blocks(Scaled(values, scales), (2, 2))
    assert back[4, 6] == values.float()[4, 6] * 12
    assert back[1, 2] == values.float()[1, 2] * 2


def test_several_matrices_at_once():
    w = noise(3, 130, 140)
    together = quantize_blocks(w)
    for i in range(3):
        alone = quantize_blocks(w[i])
        assert torch.equal(together.values[i].float(), alone.values.float())
        assert torch.equal(together.scales[i], alone.scales)
        assert torch.equal(dequantize_blocks(together)[i], dequantize_blocks(alone))


# ------------------------------------------------------------ kernels


needs_kernels = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(256, 384), (131, 300), (1, 7), (130, 1)])
def test_kernels_round_as_quantizing_and_dequantizing_do(shape, dtype):
    assert isinstance(find_library(), Library)  # else the plain version is compared with itself
    x = noise(*shape) * torch.logspace(-9, 9, shape[1])  # many a tile's small ones are subnormal or nothing
    x[0] = 0.0
    x[-1, -1] = 1e30
    x = x.to(dtype)
    assert torch.equal(rounded_rows(x), dequantize_tiles(quantize_tiles(x)))
    assert torch.equal(rounded_columns(x), dequantize_tiles(quantize_tiles(x.t())).t())
    assert torch.equal(rounded_blocks(x), dequantize_blocks(quantize_blocks(x)))
    several = torch.stack((x, x.flip(0), -2 * x))
    assert torch.equal(rounded_blocks(several), dequantize_blocks(quantize_blocks(several)))


@needs_kernels
def test_kernels_give_every_e4m3_number_and_the_ties_between_them():
    every = torch.arange(256, dtype=torch.uint8).view(E4M3).float()
    every = every[every.isfinite()].sort()[0]
    between = (every[1:] + every[:-1]) / 2
    values = torch.cat((every, between, between.nextafter(between + 1), between.nextafter(between - 1)))
    x = F.pad(values, (0, -len(values) % 127)).view(-1, 127)
    x = F.pad(x, (1, 0), value=448.0)  # makes every scale 1
    assert torch.equal(rounded_rows(x), x.to(E4M3).float())


def test_a_nan_stays_one():
    x = noise(3, 200)
    x[1, 150] = float("nan")
    for rounded in (rounded_rows, rounded_columns, rounded_blocks):
        assert rounded(x)[1, 150].isnan()


# ------------------------------------------------------------ products


def learned(
    x: torch.Tensor, w: torch.Tensor, grad: torch.Tensor, bias: torch.Tensor | None, product=fp8_linear
):
    """Output and the gradients of x, w and bias."""
    leaves = [t.clone().requires_grad_() for t in (x, w, *(() if bias is None else (bias,)))]
    out = product(*leaves) if bias is not None else product(*leaves, None)
    return out.detach(), *torch.autograd.grad(out, leaves, grad)


@pytest.mark.parametrize(("tokens", "n", "k"), [(256, 128, 384), (70, 200, 300), (1, 5, 7)])
def test_products_are_the_scaled_sums_of_fp8_products(tokens, n, k):
    x, w, grad, bias = noise(tokens, k), noise(n, k, seed=1), noise(tokens, n, seed=2), noise(n, seed=3)
    out, grad_x, grad_w, grad_bias = learned(x, w, grad, bias)
    rows, matrix = quantize_tiles(x), quantize_blocks(w)
    assert error(out, product_plain(rows, matrix) + bias) < 1e-6
    turned = Scaled(matrix.values.t(), matrix.scales.t())
    assert error(grad_x, product_plain(quantize_tiles(grad), turned)) < 1e-6
    along_tokens = quantize_tiles(dequantize_tiles(rows).t())
    assert error(grad_w, product_plain(quantize_tiles(grad.t()), along_tokens)) < 1e-6
    assert torch.equal(grad_bias, grad.sum(0))


def test_the_scaled_sum_is_what_it_says():
    """The reference against nothing but numbers: 1 x 2 tiles by hand."""
    a = Scaled(
        torch.cat([torch.full((1, 128), 2.0), torch.full((1, 1), 3.0)], 1).to(E4M3),
        torch.tensor([[0.5, 4.0]]),
    )
    b = Scaled(torch.ones(130, 129).to(E4M3), torch.tensor([[1.0, 10.0], [7.0, 1.0]]))
    out = product_plain(a, b)
    assert out[0, 0] == 128 * 2 * 0.5 * 1.0 + 3 * 4.0 * 10.0
    assert out[0, 129] == 128 * 2 * 0.5 * 7.0 + 3 * 4.0 * 1.0


def test_fp8_is_near_and_not_equal():
    x, w, grad = noise(300, 256), noise(192, 256, seed=1), noise(300, 192, seed=2)
    exact = learned(x, w, grad, None, F.linear)
    for got, wanted in zip(learned(x, w, grad, None), exact, strict=True):
        assert 0.01 < error(got, wanted) < 0.06


def test_outputs_and_gradients_keep_their_dtypes_and_shapes():
    x, w = noise(2, 5, 40).bfloat16(), noise(24, 40, seed=1).bfloat16()
    grad, bias = noise(2, 5, 24, seed=2).bfloat16(), noise(24).bfloat16()
    made = learned(x, w, grad, bias)
    assert [t.dtype for t in made] == [torch.bfloat16] * 4
    assert [t.shape for t in made] == [grad.shape, x.shape, w.shape, bias.shape]
    flat = learned(x.flatten(0, 1), w, grad.flatten(0, 1), bias)
    assert all(torch.equal(a.flatten(), b.flatten()) for a, b in zip(made, flat, strict=True))


def test_groups_are_one_product_each():
    x, w, grad = noise(150, 140), noise(4, 130, 140, seed=1), noise(150, 130, seed=2)
    ends = [7, 7, 140, 150]  # the second has no rows
    leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
    out = fp8_grouped_linear(*leaves, ends)
    grad_x, grad_w = torch.autograd.grad(out, leaves, grad)
    out = out.detach()
    assert not grad_w[1].any()
    for group, (begin, end) in ((0, (0, 7)), (2, (7, 140)), (3, (140, 150))):
        rows = slice(begin, end)
        alone = learned(x[rows], w[group], grad[rows], None)
        for got, wanted in zip((out[rows], grad_x[rows], grad_w[group]), alone, strict=True):
            assert error(got, wanted) < 1e-6
    assert 0.01 < error(out, grouped_linear(x, w, ends)) < 0.06
