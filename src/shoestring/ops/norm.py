"""RMSNorm, alone and joined with the residual sum before it. Sums are in float32; the result has the weight's
dtype, so that a float32 residual stream meets bf16 products without a pass of its own."""

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.native import Library, library_for


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension, in the weight's dtype."""
    library = _library(x, weight)
    if library is None:
        return rms_norm_torch(x, weight, eps)
    x = x.contiguous()
    if _no_graph(x, weight):
        return _forward(library, x, None, weight, eps)[1]
    return _RMSNorm.apply(x, weight, eps, library)  # type: ignore[return-value]


def add_rms_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x float32, delta of the weight's dtype -> x + delta in float32, and its norm in the weight's dtype."""
    library = _library(x, weight)
    if library is None or x.dtype != torch.float32 or delta.dtype != weight.dtype:
        total = x + delta
        return total, rms_norm_torch(total, weight, eps)
    x, delta = x.contiguous(), delta.contiguous()
    if _no_graph(x, delta, weight):
        total, out, _ = _forward(library, x, delta, weight, eps)
        return total, out
    return _AddRMSNorm.apply(x, delta, weight, eps, library)  # type: ignore[return-value]


def rms_norm_torch(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As `rms_norm_plain`, in torch's own norm: on a GPU 3 kernels instead of 8, and launching them is what a
    small model's decode step waits for."""
    return (F.rms_norm(x.float(), weight.shape, None, eps) * weight).to(weight.dtype)


def rms_norm_plain(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (scaled * weight.float()).to(weight.dtype)


def _library(x: Tensor, weight: Tensor) -> Library | None:
    paired = x.dtype in (torch.float32, weight.dtype)
    return library_for(x, weight) if paired else None


def _no_graph(*tensors: Tensor) -> bool:
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))


def _forward(
    library: Library, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """-> what was normalised, the result, and 1 / rms of each row."""
    size = x.shape[-1]
    rows = x.numel() // size
    total = x if delta is None else torch.empty_like(x)
    out = torch.empty_like(x, dtype=weight.dtype)
    inverse = torch.empty(rows)
    into = None if delta is None else total
    library.call("norm_forward", (x, weight), x, delta, weight, into, out, inverse, rows, size, eps)
    return total, out, inverse


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float, library: Library) -> Tensor:  # type: ignore[override]
        _, out, inverse = _forward(library, x, None, weight, eps)
        ctx.save_for_backward(x, weight, inverse)
        ctx.library = library
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        x, weight, inverse = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x, grad_weight, size = torch.empty_like(x), torch.empty_like(weight), x.shape[-1]
        ctx.library.call(
            "norm_backward", (x, weight), grad, None, x, weight, inverse, grad_x, None, grad_weight,
            x.numel() // size, size,
        )  # fmt: skip
        return grad_x, grad_weight, None, None


class _AddRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx, x: Tensor, delta: Tensor, weight: Tensor, eps: float, library: Library
    ) -> tuple[Tensor, Tensor]:
        total, out, inverse = _forward(library, x, delta, weight, eps)
        ctx.save_for_backward(total, weight, inverse)
        ctx.library = library
        ctx.set_materialize_grads(False)  # the last sum of a network is used by nothing but its norm
        return total, out

    @staticmethod
    def backward(ctx, grad_total: Tensor | None, grad: Tensor | None):  # type: ignore[override]
        total, weight, inverse = ctx.saved_tensors
        size = total.shape[-1]
        grad_out = total.new_zeros(total.shape, dtype=weight.dtype) if grad is None else grad.contiguous()
        grad_total = None if grad_total is None else grad_total.contiguous()
        grad_x, grad_weight = torch.empty_like(total), torch.empty_like(weight)
        # one tensor serves both where the dtypes agree
        grad_delta = None if weight.dtype == total.dtype else torch.empty_like(total, dtype=weight.dtype)
        ctx.library.call(
            "norm_backward", (total, weight), grad_out, grad_total, total, weight, inverse, grad_x,
            grad_delta, grad_weight, total.numel() // size, size,
        )  # fmt: skip
        return grad_x, grad_x if grad_delta is None else grad_delta, grad_weight, None, None
