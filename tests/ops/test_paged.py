"""Attention over blocks: the kernel and the batched products against whole rows of keys and values."""

import shutil
from array import array

import pytest
import torch

from shoestring.ops.attend import attention_plain
from shoestring.ops.native import Library, build, find_library
from shoestring.ops.paged import (
    SPAN,
    DecodeRuns,
    PagedTokens,
    keep_plain,
    keep_tokens,
    paged_attention,
    paged_attention_plain,
    plain_groups,
)

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
DTYPES = [torch.float32, torch.bfloat16]
SHAPES = [(8, 4, 2), (64, 9, 3), (32, 5, 1), (128, 4, 4)]


@pytest.fixture(params=[True, False], ids=["tiles", "no tiles"])
def library(request, monkeypatch) -> Library:
    """On a processor with tiles, where this one has them, and on one without."""
    if request.param:
        found = find_library()
        assert isinstance(found, Library), found
        return found
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-U__AMX_TILE__"))
    return Library(build.built_library())


class Cache:
    """Sequences that are in blocks already, as whole rows too. Several may begin with the same blocks."""

    def __init__(self, lengths, shared, dtype, dim, kv_heads, seed=0):
        """lengths[i] tokens are there; shared[i]: with which earlier one, and how many blocks."""
        generator = torch.Generator().manual_seed(seed)
        room = max(lengths) + 2 * SPAN
        self.k, self.v = (
            torch.randn(len(lengths), room, kv_heads, dim, generator=generator).to(dtype) for _ in range(2)
        )
        order = torch.randperm(len(lengths) * (room // SPAN + 1), generator=generator).tolist()
        self.tables: list[array] = []
        for row, (length, (other, blocks)) in enumerate(zip(lengths, shared, strict=True)):
            table = self.tables[other][:blocks] if blocks else array("q")
            self.k[row, : blocks * SPAN] = self.k[other, : blocks * SPAN]
            self.v[row, : blocks * SPAN] = self.v[other, : blocks * SPAN]
            table.extend(order.pop() for _ in range((length + SPAN) // SPAN + 1 - blocks))
            self.tables.append(table)
        self.lengths = lengths
        count = len(lengths) * (room // SPAN + 1)
        self.blocks = tuple(self.k.new_zeros(count, kv_heads, SPAN * dim) for _ in range(2))

    def tokens(self, firsts, counts) -> PagedTokens:
        wide = max(map(len, self.tables))
        tables = torch.tensor([[*t, *[0] * (wide - len(t))] for t in self.tables])
        rows = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        places = torch.cat([torch.arange(f, f + c) for f, c in zip(firsts, counts, strict=True)])
        return PagedTokens(tables, rows, places)

    def fill(self, library: Library | None) -> None:
        """Everything up to the lengths into the blocks."""
        tokens = self.tokens([0] * len(self.lengths), self.lengths)
        self.keep(library, tokens)

    def keep(self, library: Library | None, tokens: PagedTokens) -> None:
        k, v = self.k[tokens.rows, tokens.places], self.v[tokens.rows, tokens.places]
        if library is not None:
            keep_tokens(library, k, v, self.blocks, tokens)
        else:
            keep_plain(k, self.blocks[0], tokens)
            keep_plain(v, self.blocks[1], tokens)

    def wanted(self, q, tokens, scale) -> torch.Tensor:
        out = []
        for t, (row, place) in enumerate(zip(tokens.rows.tolist(), tokens.places.tolist(), strict=True)):
            k, v = self.k[row, : place + 1].float(), self.v[row, : place + 1].float()
            seen = torch.ones(1, 1, place + 1, dtype=torch.bool)
            out.append(attention_plain(q[t][None, None].float(), k[None], v[None], seen, scale)[0, 0])
        return torch.stack(out)


def near(out: torch.Tensor, wanted: torch.Tensor, atol: float = 0.02) -> None:
    if out.dtype == torch.float32:
        torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-5)
    else:  # the weights are rounded to bf16 before they meet the values
        torch.testing.assert_close(out.float(), wanted, atol=atol, rtol=0.01)


SEVERAL = [1, 40, 70, 33, 5, 96, 64, 31, 32, 100, 67, 65, 66, 71, 80, 99]
IN_COMMON = [(0, 0)] * 6 + [(1, 1), (0, 0), (0, 0), (5, 3), (5, 1), (2, 2), (2, 2), (2, 1), (2, 2), (5, 3)]


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dim", "heads", "kv_heads"), SHAPES)
@pytest.mark.parametrize("count", [1, 3, len(SEVERAL)])
def test_a_token_each(dtype, dim, heads, kv_heads, count, library):
    cache = Cache(SEVERAL[:count], IN_COMMON[:count], dtype, dim, kv_heads)
    cache.fill(library)
    tokens = cache.tokens(cache.lengths, [1] * count)
    q = (3 * torch.randn(count, heads, dim, generator=torch.Generator().manual_seed(4))).to(dtype)
    new = (cache.k[tokens.rows, tokens.places], cache.v[tokens.rows, tokens.places])
    runs = DecodeRuns.of_sequences(cache.tables, cache.lengths)
    out = paged_attention(library, q, new, cache.blocks, tokens, runs, dim**-0.5)
    near(out, cache.wanted(q, tokens, dim**-0.5))
    again = paged_attention(library, q, None, cache.blocks, tokens, runs, dim**-0.5)
    assert torch.equal(again, out)  # the new tokens are in the cache
    alone = DecodeRuns(torch.arange(count), torch.tensor([[i, i + 1, 0] for i in range(count)]))
    assert torch.equal(paged_attention(library, q, None, cache.blocks, tokens, alone, dim**-0.5), out)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dim", "heads", "kv_heads"), SHAPES)
def test_pieces_of_any_length(dtype, dim, heads, kv_heads, library):
    """From the first token on too, and beside single ones; each token's own pass gives the same bits."""
    firsts, counts = [0, 40, 70, 33, 5, 96], [70, 1, 3, 60, 17, 16]
    cache = Cache([f + c for f, c in zip(firsts, counts, strict=True)], [(0, 0)] * 6, dtype, dim, kv_heads)
    cache.fill(library)
    tokens = cache.tokens(firsts, counts)
    cache.keep(library, tokens)
    q = (3 * torch.randn(sum(counts), heads, dim, generator=torch.Generator().manual_seed(4))).to(dtype)
    runs = DecodeRuns.of_pieces(counts, firsts, threads=2)
    assert sorted(range(sum(counts))) == sorted(
        t for begin, end, _ in runs.runs.tolist() for t in runs.order[begin:end].tolist()
    )
    out = paged_attention(library, q, None, cache.blocks, tokens, runs, dim**-0.5)
    near(out, cache.wanted(q, tokens, dim**-0.5))
    single = DecodeRuns(runs.order, torch.tensor([[i, i + 1, 0] for i in range(sum(counts))]))
    assert torch.equal(paged_attention(library, q, None, cache.blocks, tokens, single, dim**-0.5), out)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dim", "heads", "kv_heads"), SHAPES)
@pytest.mark.parametrize("gathered", [1, 300, 1 << 18])
def test_batched_products(dtype, dim, heads, kv_heads, gathered, monkeypatch):
    monkeypatch.setattr("shoestring.ops.paged.GATHERED", gathered)
    firsts, counts = [0, 40, 70, 33, 5, 96, 20], [70, 1, 3, 60, 17, 16, 1]
    cache = Cache([f + c for f, c in zip(firsts, counts, strict=True)], [(0, 0)] * 7, dtype, dim, kv_heads)
    cache.fill(None)
    tokens = cache.tokens(firsts, counts)
    q = (3 * torch.randn(sum(counts), heads, dim, generator=torch.Generator().manual_seed(4))).to(dtype)
    out = paged_attention_plain(q, cache.blocks, plain_groups(tokens, counts), dim**-0.5)
    near(out, cache.wanted(q, tokens, dim**-0.5), atol=0.08)  # its scores are rounded to bf16 too


def test_what_sequences_have_in_common_is_one_run():
    tables = [array("q", blocks) for blocks in ([7, 1, 2, 3], [9, 5], [7, 1, 2, 4], [7, 1, 2, 6], [9, 8])]
    runs = DecodeRuns.of_sequences(tables, [100, 40, 97, 99, 33])
    found = [(sorted(runs.order[a:b].tolist()), shared) for a, b, shared in runs.runs.tolist()]
    assert found == [([0, 2, 3], 3), ([1, 4], 1)]
    runs = DecodeRuns.of_sequences(tables, [100, 40, 64, 99, 31])  # the block that holds a place is its own's
    found = [(sorted(runs.order[a:b].tolist()), shared) for a, b, shared in runs.runs.tolist()]
    assert found == [([0, 2, 3], 2), ([1], 0), ([4], 0)]
    many = DecodeRuns.of_sequences([array("q", [0, i]) for i in range(20)], [40] * 20)
    assert [b - a for a, b, _ in many.runs.tolist()] == [8, 8, 4]
