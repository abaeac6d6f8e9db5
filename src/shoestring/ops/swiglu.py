"""The gate of a SwiGLU network: silu(gate) * up, from the one matrix product that makes both."""

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.native import Library, library_for


def silu_mul(gate_up: Tensor) -> Tensor:
    """gate_up (..., 2 I), gate first -> silu(gate) * up (..., I)."""
    library = library_for(gate_up)
    if library is None:
        return silu_mul_plain(gate_up)
    gate_up = gate_up.contiguous()
    if torch.is_grad_enabled() and gate_up.requires_grad:
        return _SiluMul.apply(gate_up, library)  # type: ignore[return-value]
    return _forward(library, gate_up)


def silu_mul_plain(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def _forward(library: Library, gate_up: Tensor) -> Tensor:
    size = gate_up.shape[-1] // 2
    out = gate_up.new_empty(*gate_up.shape[:-1], size)
    library.call("silu_mul_forward", (out,), gate_up, out, out.numel() // size, size)
    return out


class _SiluMul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate_up: Tensor, library: Library) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gate_up)
        ctx.library = library
        return _forward(library, gate_up)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        (gate_up,) = ctx.saved_tensors
        grad, size = grad.contiguous(), gate_up.shape[-1] // 2
        grad_gate_up = torch.empty_like(gate_up)
        rows = gate_up.numel() // gate_up.shape[-1]
        ctx.library.call("silu_mul_backward", (gate_up,), grad, gate_up, grad_gate_up, rows, size)
        return grad_gate_up, None
