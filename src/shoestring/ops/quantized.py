"""Matrices in whole numbers of 8 or 4 bits, and products with them. Every 32 numbers along a row share a
scale (and at 4 bits a minimum), as in llama.cpp's Q8_0, Q4_0 and Q4_1, whose blocks are kept as they lie in a
file.

In a product the other side is rounded too, to 8 bits in groups of 32 along the sum. A group's dot product is
then a whole number; groups are added in float32 in their order. So with kernels a row's result is the same
bits whatever stands beside it. The plain version multiplies what the numbers stand for in float32 and differs
by float32 rounding alone."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.native import Library, library_for

SIZE = 32  # numbers under one scale
LANES = 16  # rows of a panel (native/coded.h)
Bits = Literal[8, 4]


class Groups(NamedTuple):
    """Row by row. What they stand for is number * scale (+ minimum): numbers (N, K) int8, at 4 bits 0 to 15
    with minima; scales and mins (N, K / 32) float16."""

    numbers: Tensor
    scales: Tensor
    mins: Tensor | None = None

    @property
    def bits(self) -> Bits:
        return 8 if self.mins is None else 4


@dataclass(frozen=True, eq=False)
class Quantized:
    """A matrix (rows, depth) in the order in which products read it: panels of 16 rows, filled up with zeros,
    in a panel group after group. values (P, G, 8, 16, 4) int8 hold four neighbours of each of 16 rows in 64
    bytes; at 4 bits (P, G, 4, 16, 4) uint8, the low half of byte i belongs to place i and the high half to i
    + 4. scales and mins (P, G, 16) float16."""

    rows: int
    depth: int
    values: Tensor
    scales: Tensor
    mins: Tensor | None

    @property
    def bits(self) -> Bits:
        return 8 if self.mins is None else 4

    def part(self, first: int, rows: int) -> "Quantized":
        """`rows` of its rows from row `first` on, both whole panels."""
        own = slice(first // LANES, (first + rows) // LANES)
        mins = None if self.mins is None else self.mins[own]
        return Quantized(rows, self.depth, self.values[own], self.scales[own], mins)

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in (self.values, self.scales, self.mins) if t is not None)

    @cached_property
    def words(self) -> Tensor:
        """What the kernel is told of it, without a bias."""
        return torch.tensor(matrix_words(self, None), dtype=torch.int64)


def matrix_words(matrix: Quantized, bias: Tensor | None) -> list[int]:
    """native/coded.h's Matrix. Whoever keeps them keeps the tensors."""
    tensors = (matrix.values, matrix.scales, matrix.mins, bias)
    return [matrix.bits, matrix.rows, matrix.depth, *(0 if t is None else t.data_ptr() for t in tensors), 0]


def can_quantize(weight: Tensor) -> bool:
    return weight.dim() == 2 and weight.shape[1] % SIZE == 0


def quantize_8(weight: Tensor) -> Groups:
    """weight (N, K) -> -127 to 127, the largest of a group at its end."""
    groups = weight.float().unflatten(1, (-1, SIZE))
    scales = (groups.abs().amax(-1) / 127).half()
    numbers = (groups / _nonzero(scales)[..., None]).round_().clamp_(-127, 127)
    return Groups(numbers.to(torch.int8).flatten(1), scales)


SHRINKS = (1.0, 0.95, 0.9, 0.85)  # of a group's range: a few numbers cut off can be worth a finer step


def quantize_4(weight: Tensor) -> Groups:
    """weight (N, K) -> 0 to 15 over scale and minimum, of each group those with the smallest sum of squared
    errors among a few shrunken ranges, each fitted once more to the numbers that it gave."""
    groups = weight.float().unflatten(1, (-1, SIZE))
    low, high = groups.amin(-1), groups.amax(-1)
    best: tuple[Tensor, Tensor, Tensor, Tensor] | None = None  # error, scale, minimum, numbers
    for shrink in SHRINKS:
        spare = (high - low) * ((1 - shrink) / 2)
        numbers = _nearest_16(groups, (high - low) * (shrink / 15), low + spare)
        scale, least = (t.half() for t in _fitted(groups, numbers))
        numbers = _nearest_16(groups, scale, least)
        error = (numbers * scale.float()[..., None] + least.float()[..., None] - groups).square_().sum(-1)
        if best is None:
            best = error, scale, least, numbers
        else:
            better = error < best[0]
            pairs = zip((error, scale, least), best[:3], strict=True)
            kept = [torch.where(better, new, old) for new, old in pairs]
            best = kept[0], kept[1], kept[2], torch.where(better[..., None], numbers, best[3])
    assert best is not None
    _, scale, least, numbers = best
    return Groups(numbers.to(torch.int8).flatten(1), scale, least)


def _nearest_16(groups: Tensor, scale: Tensor, least: Tensor) -> Tensor:
    return ((groups - least.float()[..., None]) / _nonzero(scale)[..., None]).round_().clamp_(0, 15)


def _fitted(groups: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and minimum of the least squares line through a group's (number, value) pairs."""
    mean_n, mean_v = numbers.mean(-1, keepdim=True), groups.mean(-1, keepdim=True)
    off = numbers - mean_n
    scale = (off * (groups - mean_v)).sum(-1) / _nonzero(off.square().sum(-1))
    return scale, mean_v[..., 0] - scale * mean_n[..., 0]


def _nonzero(x: Tensor) -> Tensor:
    return x.float().masked_fill(x == 0, 1.0)


def pack(groups: Groups) -> Quantized:
    rows, depth = groups.numbers.shape
    panels = -(-rows // LANES)

    def panelled(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, panels * LANES - rows)).unflatten(0, (panels, LANES))

    numbers = panelled(groups.numbers).unflatten(2, (-1, 8, 4)).permute(0, 2, 3, 1, 4)
    if groups.mins is not None:
        low, high = numbers.to(torch.uint8).split(4, dim=2)
        numbers = low | (high << 4)
    scales, mins = (
        None if t is None else panelled(t).transpose(1, 2).contiguous() for t in (groups.scales, groups.mins)
    )
    assert scales is not None
    return Quantized(rows, depth, numbers.contiguous(), scales, mins)


def dequantize(matrix: Quantized) -> Tensor:
    """(rows, depth) float32."""
    return _standing_for(matrix, slice(None)).permute(0, 3, 1, 2, 4).flatten(2).flatten(0, 1)[: matrix.rows]


def _standing_for(matrix: Quantized, panels: slice) -> Tensor:
    """(P, G, 8, 16, 4) float32."""
    values = matrix.values[panels]
    if matrix.mins is not None:
        values = torch.cat((values & 15, values >> 4), dim=2)
    wide = values.float().mul_(matrix.scales[panels].float()[:, :, None, :, None])
    return wide if matrix.mins is None else wide.add_(matrix.mins[panels].float()[:, :, None, :, None])


def quantized_rows(matrix: Quantized, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """ids (T,) -> those rows (T, depth): an embedding."""
    out = torch.empty((len(ids), matrix.depth), dtype=dtype, device=ids.device)
    library = _library(out, matrix)
    if library is None:
        return quantized_rows_plain(matrix, ids, dtype)
    library.call("coded_rows", (out,), ids.long().contiguous(), matrix.words, out, len(ids))
    return out


def quantized_rows_plain(matrix: Quantized, ids: Tensor, dtype: torch.dtype) -> Tensor:
    panel, lane = ids // LANES, ids % LANES
    values = matrix.values[panel, :, :, lane]  # (T, G, 8, 4)
    if matrix.mins is not None:
        values = torch.cat((values & 15, values >> 4), dim=2)
    wide = values.flatten(2).float().mul_(matrix.scales[panel, :, lane].float()[..., None])
    if matrix.mins is not None:
        wide.add_(matrix.mins[panel, :, lane].float()[..., None])
    return wide.flatten(1).to(dtype)


def round_rows(x: Tensor) -> Tensor:
    """x (T, K) -> what a product reads of it, (T, K) float32: 8 bits in groups of 32."""
    groups = x.float().unflatten(-1, (-1, SIZE))
    most = groups.abs().amax(-1, keepdim=True)
    # not 127 / most, of which torch makes a reciprocal and a product: rounded twice
    inverse = torch.where(most > 1e-30, torch.full_like(most, 127.0) / most, 0.0)
    numbers = (groups * inverse).round_()
    return numbers.mul_(most / 127).flatten(-2)


def quantized_linear(x: Tensor, matrix: Quantized, bias: Tensor | None) -> Tensor:
    """x (T, depth), bias (rows,) -> (T, rows) in x's dtype."""
    library = _library(x, matrix)
    if library is None:
        return quantized_linear_plain(x, matrix, bias)
    if bias is None:
        words = matrix.words
    else:
        words = torch.tensor(matrix_words(matrix, bias), dtype=torch.int64)
    out = x.new_empty(x.shape[0], matrix.rows)
    library.call("coded_linear", (x,), x.contiguous(), words, out, x.shape[0])
    return out


def quantized_logits(x: Tensor, matrix: Quantized) -> Tensor:
    """x (..., depth) -> (..., rows) float32."""
    rows = x.reshape(-1, x.shape[-1])
    library = _library(rows, matrix)
    if library is None:
        return F.linear(round_rows(rows), dequantize(matrix)).view(*x.shape[:-1], -1)
    out = torch.empty(rows.shape[0], matrix.rows)
    library.call("coded_logits", (rows,), rows.contiguous(), matrix.words, out, rows.shape[0])
    return out.view(*x.shape[:-1], -1)


def quantized_linear_plain(x: Tensor, matrix: Quantized, bias: Tensor | None) -> Tensor:
    out = F.linear(round_rows(x), dequantize(matrix))
    return (out if bias is None else out + bias.float()).to(x.dtype)


def _library(x: Tensor, matrix: Quantized) -> Library | None:
    return library_for(x) if x.dim() == 2 and matrix.values.device.type == "cpu" else None
