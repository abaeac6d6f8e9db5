"""Rotary positions: the frequencies with a config's scaling, and the angles of each token. `ops.rotary` turns
with them."""

import math

import torch
from torch import Tensor

from shoestring.models.config import ModelConfig, RopeScaling


def rope_tables(inv_freq: Tensor, positions: Tensor, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """positions (T,) -> cos, sin of shape (T, 1, D/2), float32: bf16 can't count past 256. Both are
    multiplied by `factor`, YaRN's."""
    angles = positions.to(torch.float32)[:, None] * inv_freq
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return (cos, sin) if factor == 1.0 else (cos * factor, sin * factor)


def scaled_inverse_frequencies(config: ModelConfig) -> list[float]:
    """theta^(-2i/d) for i in 0..d/2-1, with the config's scaling applied."""
    d = config.rope_dim
    freqs = [config.rope_theta ** (-2 * i / d) for i in range(d // 2)]
    scaling = config.rope_scaling
    if scaling is None:
        return freqs
    if scaling.rope_type == "linear":
        return [f / scaling.factor for f in freqs]
    if scaling.rope_type == "yarn":
        return _yarn(freqs, config.rope_theta, scaling)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    result = []
    for f in freqs:  # Llama 3: low frequencies divided, high ones kept, a linear blend between
        turns = scaling.original_max_position_embeddings * f / (2 * math.pi)  # over the original window
        keep = min(max((turns - low) / (high - low), 0.0), 1.0)
        result.append(f * keep + f / scaling.factor * (1 - keep))
    return result


def _yarn(freqs: list[float], theta: float, scaling: RopeScaling) -> list[float]:
    """YaRN (arXiv 2309.00071): frequencies that turn more than beta_fast times over the original window are
    kept, those under beta_slow divided, with a ramp over the dimensions between (whole ones, as DeepSeek and
    transformers do)."""
    d = 2 * len(freqs)

    def dimension(turns: float) -> float:
        window = scaling.original_max_position_embeddings
        return d * math.log(window / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(scaling.beta_fast)), 0)
    high = min(math.ceil(dimension(scaling.beta_slow)), d - 1)
    span = max(high - low, 0.001)
    result = []
    for i, f in enumerate(freqs):
        ramp = min(max((i - low) / span, 0.0), 1.0)
        result.append(f / scaling.factor * ramp + f * (1 - ramp))
    return result


def _mscale(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def rope_factor(config: ModelConfig) -> float:
    """What cos and sin are multiplied by: 1 but with YaRN."""
    scaling = config.rope_scaling
    if scaling is None or scaling.rope_type != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return _mscale(scaling.factor, scaling.mscale) / _mscale(scaling.factor, scaling.mscale_all_dim)
    return _mscale(scaling.factor, 1.0)


def softmax_scale(config: ModelConfig) -> float:
    """What scores are multiplied by: head_dim^-0.5, and YaRN's temperature for latent attention
    (192^-0.5 * 1.3689^2 = 0.13523 at the published factor 40)."""
    scale, scaling = config.head_dim**-0.5, config.rope_scaling
    if config.is_mla and scaling is not None and scaling.mscale_all_dim:
        return scale * _mscale(scaling.factor, scaling.mscale_all_dim) ** 2
    return scale
