"""The kernel of packed rows against whole score matrices."""

import shutil
from functools import partial

import pytest
import torch
from torch import Tensor

from shoestring.models.cache import PackedRows, RowProducts
from shoestring.ops.attend import attention_plain
from shoestring.ops.native import find_library
from shoestring.ops.packed_attention import ROOM_UP_TO, RowParts, packed_attention, packed_library

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
ROWS = {  # (lengths, parents)
    "one token": ([1], [-1]),
    "one row": ([37], [-1]),
    "rows": ([5, 16, 1, 33, 48], [-1] * 5),
    "a family": ([21, 9, 1, 17, 30, 16, 4], [-1, 0, 0, 0, 0, 0, 0]),
    "families": ([7, 18, 40, 3, 5, 2, 19, 25], [-1, -1, 0, 1, 0, -1, 1, 1]),
}


def laid_out(name: str) -> tuple[Tensor, Tensor, Tensor]:
    lengths, parents = (torch.tensor(values) for values in ROWS[name])
    return lengths.cumsum(0) - lengths, lengths, parents


def visible(starts: Tensor, lengths: Tensor, parents: Tensor) -> Tensor:
    """(T, T) bool: the row's prefix, and the row up to the token."""
    seen = torch.zeros(int(lengths.sum()), int(lengths.sum()), dtype=torch.bool)
    spans = [slice(s, s + n) for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
    for span, n, parent in zip(spans, lengths.tolist(), parents.tolist(), strict=True):
        seen[span, span] = torch.ones(n, n, dtype=torch.bool).tril()
        if parent >= 0:
            seen[span, spans[parent]] = True
    return seen


def inputs(tokens: int, heads: int, kv_heads: int, dim: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(tokens, heads, dim), (tokens, kv_heads, dim), (tokens, kv_heads, dim), (tokens, heads, dim)]
    return [torch.randn(shape).to(dtype) for shape in shapes]


def with_gradients(attend, q: Tensor, k: Tensor, v: Tensor, slope: Tensor) -> list[Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in (q, k, v)]
    out = attend(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, slope.to(out.dtype))]


def kernel(rows: tuple[Tensor, Tensor, Tensor]):
    parts = RowParts.build(*rows)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        library = packed_library(q, k)
        assert library is not None
        return packed_attention(library, q, k, v, parts, scale_of(q))

    return attend


def scale_of(q: Tensor) -> float:
    return q.shape[-1] ** -0.5


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(2, 2, 16), (9, 3, 64), (8, 1, 48), (4, 2, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients(name, heads, kv_heads, dim, dtype):
    rows = laid_out(name)
    seen = visible(*rows)
    q, k, v, slope = inputs(len(seen), heads, kv_heads, dim, dtype)
    plain = lambda *x: attention_plain(*(t[None] for t in x), seen[None], scale_of(x[0]))[0]  # noqa: E731
    wanted = with_gradients(plain, *(t.float() for t in (q, k, v, slope)))
    made = with_gradients(kernel(rows), q, k, v, slope)
    tolerance = {"atol": 2e-5, "rtol": 2e-5} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 1e-2}
    for one, other in zip(made, wanted, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.float(), other, **tolerance)


def test_scores_far_apart_and_without_a_graph():
    rows = laid_out("families")
    q, k, v, _ = inputs(int(rows[1].sum()), 3, 1, 16, torch.float32)
    made = kernel(rows)(q * 100, k, v)
    assert made.isfinite().all()
    torch.testing.assert_close(
        made, attention_plain(*(t[None] for t in (q * 100, k, v)), visible(*rows)[None], scale_of(q))[0]
    )


@pytest.mark.parametrize("name", ["rows", "families"])
def test_threads_change_nothing(name):
    rows = laid_out(name)
    q, k, v, slope = inputs(int(rows[1].sum()), 6, 2, 32, torch.bfloat16)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(with_gradients(kernel(rows), q, k, v, slope))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", ROWS)
def test_batched_products_give_the_same(name):
    rows = laid_out(name)
    tokens = int(rows[1].sum())
    q, k, v, slope = inputs(tokens, 6, 2, 16, torch.float32)
    made = with_gradients(kernel(rows), q, k, v, slope)
    wanted = with_gradients(partial(RowProducts(*rows, tokens).attend, scale=scale_of(q)), q, k, v, slope)
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    ("length", "dim", "taken"), [(40, 16, True), (40, 20, False), (ROOM_UP_TO + 1, 16, False)]
)
def test_what_the_kernel_does_not_take_goes_by_products(length, dim, taken):
    made = PackedRows(torch.tensor([0]), torch.tensor([length]), torch.tensor([-1]), length)
    q, k, v, _ = inputs(length, 2, 1, dim, torch.float32)
    out = made.attend(0, q, k, v, scale_of(q))
    assert ("_products" in vars(made)) == (not taken)
    seen = torch.ones(length, length, dtype=torch.bool).tril()[None]
    torch.testing.assert_close(
        out, attention_plain(q[None], k[None], v[None], seen, scale_of(q))[0], atol=1e-5, rtol=1e-5
    )


def test_the_library_is_here():
    assert packed_library(*inputs(1, 1, 1, 16, torch.float32)[:2]) is find_library()


def test_values_narrower_than_keys():
    """Latent attention's: the kernel has one width, so they are filled up and cut again."""
    rows = laid_out("families")
    tokens = int(rows[1].sum())
    q, k, v, slope = inputs(tokens, 2, 2, 32, torch.float32)
    narrow, slope = v[..., :20].contiguous(), slope[..., :20].contiguous()
    made = with_gradients(lambda *x: PackedRows(*rows, tokens).attend(0, *x, 0.3), q, k, narrow, slope)
    seen = visible(*rows)[None]
    plain = lambda *x: attention_plain(*(t[None] for t in x), seen, 0.3)[0]  # noqa: E731
    for one, other in zip(made, with_gradients(plain, q, k, narrow, slope), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)
    products = with_gradients(lambda *x: RowProducts(*rows, tokens).attend(*x, 0.3), q, k, narrow, slope)
    for one, other in zip(made, products, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)
