"""Rotary positions, half-split convention (Llama, Qwen): pair i is (x[i], x[i + D/2])."""

import torch
from torch import Tensor


def rope_tables(inv_freq: Tensor, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """positions (T,) -> cos, sin of shape (T, 1, D/2). Angles in float32: bf16 can't count past 256."""
    angles = positions.to(torch.float32)[:, None] * inv_freq
    return angles.cos().to(dtype)[:, None], angles.sin().to(dtype)[:, None]


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (T, H, D), cos and sin (T, 1, D/2) -> rotated x."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
