"""Attention of packed rows in one kernel: no padding, no gathering, no scores in memory. The plain version is
`models.cache.PackedRows` over `ops.attend`'s batched products."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.ops.native import Library, library_for

LANES = 16  # numbers that the kernel takes at a time (native/attention.cpp)
ROOM_UP_TO = 1024  # tokens that a query sees; beyond, the kernel's scratch leaves the cache
TOGETHER = 4  # rows behind one prefix that one thread takes at a time


@dataclass(frozen=True)
class RowParts:
    """How the kernel goes through rows that lie end to end: `parts` (P, 7) of `rows` (R, 2), as its struct
    Part says; `order`, first the `behind` parts that lie behind a prefix. room: for the most tokens that a
    query sees, and LANES more; shares: tokens of all parts' prefixes."""

    rows: Tensor
    parts: Tensor
    order: Tensor
    behind: int
    room: int
    shares: int

    @classmethod
    def build(cls, starts: Tensor, lengths: Tensor, parents: Tensor) -> "RowParts":
        """starts, lengths and parents (R,) int64 as `models.cache.PackedRows` takes them."""
        begin, length, parent = (t.tolist() for t in (starts, lengths, parents))
        families: dict[int, list[int]] = {row: [] for row in range(len(parent)) if parent[row] < 0}
        for row, root in enumerate(parent):
            if root >= 0:
                families[root].append(row)
        rows: list[tuple[int, int]] = []
        behind: list[list[int]] = []
        others: list[list[int]] = []
        shares = 0
        for root, children in families.items():
            first = len(behind)
            for at in range(0, len(children), TOGETHER):
                some = children[at : at + TOGETHER]
                span = [len(rows), len(rows) + len(some)]
                behind.append([*span, begin[root], length[root], shares, 0, 0])
                rows += [(begin[row], length[row]) for row in some]
                shares += length[root]
            others.append([len(rows), len(rows) + 1, 0, 0, 0, first, len(behind)])
            rows.append((begin[root], length[root]))
        parts = [*behind, *others]
        costs = [_cost(part, rows) for part in parts]
        order = [*_dealt(range(len(behind)), costs), *_dealt(range(len(behind), len(parts)), costs)]
        seen = max(part[3] + max(n for _, n in rows[part[0] : part[1]]) for part in parts)
        return cls(
            rows=torch.tensor(rows, dtype=torch.int64),
            parts=torch.tensor(parts, dtype=torch.int64),
            order=torch.tensor(order, dtype=torch.int64),
            behind=len(behind),
            room=-(-seen // LANES) * LANES + LANES,
            shares=shares,
        )


def _cost(part: Sequence[int], rows: Sequence[tuple[int, int]]) -> float:
    """Pairs (query, key)."""
    return sum(n * (part[3] + n / 2) for _, n in rows[part[0] : part[1]])


def _dealt(parts: Sequence[int], costs: Sequence[float]) -> list[int]:
    """In an order whose equal slices, one a thread, take about equally long."""
    threads = torch.get_num_threads()
    falling = sorted(parts, key=lambda part: -costs[part])
    return [part for thread in range(threads) for part in falling[thread::threads]]


def packed_library(q: Tensor, k: Tensor) -> Library | None:
    """The kernel where it takes q (T, H, D), k and v (T, Hkv, D) of one dtype."""
    if q.shape[-1] % LANES or q.dtype != k.dtype:
        return None
    return library_for(q, k)


def packed_attention(
    library: Library, q: Tensor, k: Tensor, v: Tensor, parts: RowParts, scale: float
) -> Tensor:
    """q (T, H, D), k and v (T, Hkv, D) -> (T, H, D): each token sees its row's prefix, if it has one, and its
    own row up to itself."""
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        return _PackedAttention.apply(q, k, v, parts, library, scale)  # type: ignore[return-value]
    return _forward(library, q.contiguous(), k.contiguous(), v.contiguous(), parts, scale)[0]


def _numbers(q: Tensor, k: Tensor, parts: RowParts, scale: float) -> tuple[int | float, ...]:
    others = len(parts.parts) - parts.behind
    dim = q.shape[-1]
    return parts.behind, others, q.shape[1], k.shape[1], dim, parts.room, scale


def _forward(
    library: Library, q: Tensor, k: Tensor, v: Tensor, parts: RowParts, scale: float
) -> tuple[Tensor, Tensor]:
    out, normalizer = torch.empty_like(q), torch.empty(q.shape[:2])
    library.call(
        "attend_forward", (q,), q, k, v, out, normalizer, parts.parts, parts.rows, parts.order,
        *_numbers(q, k, parts, scale),
    )  # fmt: skip
    return out, normalizer


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx, q: Tensor, k: Tensor, v: Tensor, parts: RowParts, library: Library, scale: float
    ) -> Tensor:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        out, normalizer = _forward(library, q, k, v, parts, scale)
        ctx.save_for_backward(q, k, v, normalizer)
        ctx.parts, ctx.library, ctx.scale = parts, library, scale
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        q, k, v, normalizer = ctx.saved_tensors
        parts: RowParts = ctx.parts
        grads = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        shares = torch.empty(parts.shares * k.shape[1] * 2 * k.shape[2])
        ctx.library.call(
            "attend_backward", (q,), q, k, v, grad.contiguous(), normalizer, *grads, shares, parts.parts,
            parts.rows, parts.order, *_numbers(q, k, parts, ctx.scale),
        )  # fmt: skip
        return *grads, None, None, None
