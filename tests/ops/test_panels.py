"""Products with weights in panels: against torch's, and a row's bits whatever stands beside it."""

import pytest
import torch
from torch.nn import functional as F

from shoestring.ops.native import find_library
from shoestring.ops.native.library import Library
from shoestring.ops.panels import Panels, pack_panels, panel_library, panel_linear


@pytest.fixture
def library() -> Library:
    found = find_library()
    if not isinstance(found, Library) or not found.product_depth:
        pytest.skip("needs a processor with bf16 products, and a compiler")
    return found


def matrices(rows: int, wide: int, depth: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows + wide + depth)
    sizes = ((rows, depth), (wide, depth), (wide,))
    x, weight, bias = (torch.randn(size, generator=generator).bfloat16() for size in sizes)
    return x, weight, bias


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 13, 64, 600])
@pytest.mark.parametrize(("wide", "depth"), [(32, 32), (33, 64), (96, 576), (1, 96), (200, 4096)])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_plain_product(library: Library, rows: int, wide: int, depth: int, bias: bool) -> None:
    x, weight, own = matrices(rows, wide, depth)
    offset = own if bias else None
    made = panel_linear(library, x, pack_panels(weight), offset)
    exact = F.linear(x.double(), weight.double(), None if offset is None else offset.double())
    torch.testing.assert_close(made, exact.bfloat16(), atol=1e-2, rtol=1e-2)


def test_a_row_has_the_same_bits_beside_any_others(library: Library) -> None:
    x, weight, bias = matrices(700, 96, 1536)  # more rows than are taken together
    packed = pack_panels(weight)
    whole = panel_linear(library, x, packed, bias)
    for rows in (slice(0, 1), slice(3, 5), slice(6, 17), slice(300, 364), slice(699, 700)):
        assert torch.equal(panel_linear(library, x[rows], packed, bias), whole[rows])


def test_a_large_matrix_and_rows_that_lie_apart(library: Library) -> None:
    x, weight, _ = matrices(6, 4096, 1024)  # 8 MiB: in pages of its own
    packed = pack_panels(weight)
    assert isinstance(packed, Panels)
    columns = x.t().contiguous().t()
    assert torch.equal(panel_linear(library, columns, packed, None), panel_linear(library, x, packed, None))


def test_only_weights_that_fit_are_laid_so(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    monkeypatch.setattr("shoestring.ops.panels.tile_products", lambda: False)
    assert panel_library(torch.zeros(8, 64, dtype=torch.bfloat16)) is library
    assert panel_library(torch.zeros(8, 40, dtype=torch.bfloat16)) is None
    assert panel_library(torch.zeros(8, 64)) is None
    monkeypatch.setattr("shoestring.ops.panels.tile_products", lambda: True)
    assert panel_library(torch.zeros(8, 64, dtype=torch.bfloat16)) is None
