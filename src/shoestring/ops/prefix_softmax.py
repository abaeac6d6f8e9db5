"""The softmax of rows that share a prefix: one distribution over two score matrices, masked by lengths."""

import math

import torch
from torch import Tensor

from shoestring.ops.native import Library, library_for


def prefix_softmax(
    on_prefix: Tensor, on_own: Tensor, prefix_lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """on_prefix (P, Hkv, N, L, rep, S) and on_own (P, Hkv, N, L, rep, L) are unscaled scores; token l sees
    the first prefix_lengths[p] of S and the first l + 1 of L. -> the joint softmax, 0 where nothing is
    seen."""
    library = library_for(on_prefix, on_own)
    if library is None:
        return prefix_softmax_plain(on_prefix, on_own, prefix_lengths, scale)
    on_prefix, on_own = on_prefix.contiguous(), on_own.contiguous()
    lengths = prefix_lengths.long().contiguous()
    if torch.is_grad_enabled() and (on_prefix.requires_grad or on_own.requires_grad):
        return _PrefixSoftmax.apply(on_prefix, on_own, lengths, scale, library)  # type: ignore[return-value]
    return _forward(library, on_prefix, on_own, lengths, scale)


def prefix_softmax_plain(
    on_prefix: Tensor, on_own: Tensor, prefix_lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    span, length = on_prefix.shape[-1], on_own.shape[-1]
    scores = torch.cat((on_prefix, on_own), dim=-1).float() * scale
    hidden = _hidden_from(prefix_lengths, span, length, on_own.device)
    probs = (scores + hidden).softmax(-1).to(on_own.dtype)
    return probs[..., :span].contiguous(), probs[..., span:].contiguous()


def _hidden_from(prefix_lengths: Tensor, span: int, length: int, device: torch.device) -> Tensor:
    """Additive mask (P, 1, 1, L, 1, S + L): -inf past a prefix's end and on later tokens of the own row."""
    past = torch.arange(span, device=device) >= prefix_lengths[:, None]
    later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    hidden = torch.cat(
        (past[:, None].expand(-1, length, -1), later.expand(len(prefix_lengths), -1, -1)), dim=-1
    )
    zeros = torch.zeros(hidden.shape, device=device)
    return zeros.masked_fill_(hidden, -math.inf)[:, None, None, :, None, :]


def _sizes(on_prefix: Tensor, scale: float) -> tuple[int, int, int, int, int, float]:
    """Rows of one prefix, L, rep, all rows, S, scale: how the kernels find their way."""
    prefixes, length, rep, span = on_prefix.shape[0], *on_prefix.shape[3:]
    rows = math.prod(on_prefix.shape[:-1])
    return rows // prefixes, length, rep, rows, span, scale


def _forward(
    library: Library, on_prefix: Tensor, on_own: Tensor, lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    assert on_prefix.shape[:-1] == on_own.shape[:-1] and on_own.shape[-1] == on_own.shape[3]
    out = torch.empty_like(on_prefix), torch.empty_like(on_own)
    sizes = _sizes(on_prefix, scale)
    library.call("prefix_softmax_forward", (on_own,), on_prefix, on_own, *out, lengths, *sizes)
    return out


class _PrefixSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx, on_prefix: Tensor, on_own: Tensor, lengths: Tensor, scale: float, library: Library
    ) -> tuple[Tensor, Tensor]:
        probs = _forward(library, on_prefix, on_own, lengths, scale)
        ctx.save_for_backward(*probs, lengths)
        ctx.library, ctx.scale = library, scale
        return probs

    @staticmethod
    def backward(ctx, grad_prefix: Tensor, grad_own: Tensor):  # type: ignore[override]
        on_prefix, on_own, lengths = ctx.saved_tensors
        grads = grad_prefix.contiguous(), grad_own.contiguous()
        out = torch.empty_like(on_prefix), torch.empty_like(on_own)
        sizes = _sizes(on_prefix, ctx.scale)
        ctx.library.call(
            "prefix_softmax_backward", (on_own,), on_prefix, on_own, *grads, *out, lengths, *sizes
        )
        return *out, None, None, None
