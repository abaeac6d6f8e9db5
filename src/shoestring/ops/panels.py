"""bf16 weights in panels (native/panels.h), in which products of one row or of many read them: where the
processor has bf16 products but no tiles, for which oneDNN's own order is the faster one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.ops.hardware import tile_products
from shoestring.ops.hostmemory import mapped_zeros
from shoestring.ops.native import Library, library_for

COLUMNS = 32  # of a panel
LARGE = 4 << 20  # bytes that are worth pages of their own, which may be large ones


@dataclass(frozen=True)
class Panels:
    """Of a weight (N, K). A row's product has the same bits however many rows are beside it."""

    numbers: Tensor
    rows: int
    depth: int


def panel_library(weight: Tensor) -> Library | None:
    """The kernels where they can read this weight (N, K) so, and should."""
    if weight.dtype != torch.bfloat16 or tile_products():
        return None
    library = library_for(weight)
    if library is None or not library.product_depth or weight.shape[1] % library.product_depth:
        return None
    return library


def pack_panels(weight: Tensor) -> Panels:
    library = library_for(weight)
    assert library is not None
    rows, depth = weight.shape
    shape = (-(-rows // COLUMNS) * COLUMNS * depth,)
    # a matrix that is read whole for every token: from large pages a stream of 50 MB took 1.0 to 1.3 ms
    # where it took 1.5
    large = shape[0] * weight.element_size() >= LARGE
    numbers = mapped_zeros(shape, weight.dtype) if large else weight.new_empty(shape)
    library.call("pack_panels", (weight,), weight.contiguous(), numbers, rows, depth)
    return Panels(numbers, rows, depth)


def panel_linear(library: Library, x: Tensor, weight: Panels, bias: Tensor | None) -> Tensor:
    """x (T, K) -> (T, N)."""
    out = x.new_empty(x.shape[0], weight.rows)
    library.call(
        "panel_linear", (x,), x.contiguous(), weight.numbers, bias, out, x.shape[0], weight.rows, weight.depth
    )
    return out
