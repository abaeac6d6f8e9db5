"""Rotary positions: the angles of each token. `ops.rotary` turns with them."""

import torch
from torch import Tensor


def rope_tables(inv_freq: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """positions (T,) -> cos, sin of shape (T, 1, D/2), float32: bf16 can't count past 256."""
    angles = positions.to(torch.float32)[:, None] * inv_freq
    return angles.cos()[:, None], angles.sin()[:, None]
