"""The layers of a decode step: few tokens, each weight read once, one call a layer and no thread woken for
less than it costs. What they stand for is in `ops.linear`, `ops.experts` and `models.moe`; the tests hold
them equal."""

from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.ops.native import Library, library_for

FEW_ROWS = 4  # above, a product with a packed weight is faster
FEW_PAIRS = 512  # (token, expert) pairs; above, sorting them into products is faster


@dataclass(frozen=True)
class RouterRule:
    """How experts are chosen, by the names of the config. groups is 1 where none are ranked; biased: by score
    and bias, and groups by their best two."""

    top_k: int
    groups: int
    kept_groups: int
    softmax: bool
    biased: bool
    normalised: bool
    factor: float


def few_library(x: Tensor, *weights: Tensor) -> Library | None:
    """The kernels where x (T, h) and the weights can go to them: one dtype and no gradient asked for."""
    if torch.is_grad_enabled():
        return None
    for weight in weights:
        if weight.dtype != x.dtype:
            return None
    return library_for(x)


def few_linear(library: Library, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (T, K), weight (N, K) -> (T, N)."""
    out = x.new_empty(x.shape[0], weight.shape[0])
    library.call("few_linear", (x,), x.contiguous(), weight, bias, out, x.shape[0], *reversed(weight.shape))
    return out


def few_routes(
    library: Library, x: Tensor, weight: Tensor, bias: Tensor, rule: RouterRule
) -> tuple[Tensor, Tensor]:
    """x (T, h), weight (E, h) and bias (E,) float32 -> experts (T, K) int64, the best first, and their
    weights (T, K) float32."""
    tokens, (experts, size) = x.shape[0], weight.shape
    ids = torch.empty(tokens, rule.top_k, dtype=torch.int64)
    weights = torch.empty(tokens, rule.top_k)
    library.call(
        "few_routes", (x,), x.contiguous(), weight, bias, ids, weights, tokens, size, experts, rule.top_k,
        rule.groups, rule.kept_groups, int(rule.softmax), int(rule.biased), int(rule.normalised), rule.factor,
    )  # fmt: skip
    return ids, weights


def few_experts(
    library: Library,
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    routed: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """`grouped_experts` of routed = gate_up (E, 2 I, h), down (E, h, I), and what the shared experts, (2 S,
    h) and (h, S), make of every token, added before the one rounding."""
    out = torch.empty_like(x)
    gate_up, down = routed
    shared_gate_up, shared_down = shared if shared is not None else (None, None)
    width = shared[1].shape[1] if shared is not None else 0
    library.call(
        "few_experts", (x,), x.contiguous(), ids.contiguous(), weights.contiguous(), gate_up, down,
        shared_gate_up, shared_down, out, *ids.shape, gate_up.shape[0], down.shape[2], width, down.shape[1],
    )  # fmt: skip
    return out


def few_swiglu(library: Library, x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """x (T, h), gate_up (2 I, h), down (h, I) -> (T, h)."""
    out = torch.empty_like(x)
    library.call(
        "few_experts", (x,), x.contiguous(), None, None, None, None, gate_up, down, out, x.shape[0], 0, 0, 0,
        down.shape[1], down.shape[0],
    )  # fmt: skip
    return out
