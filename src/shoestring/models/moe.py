"""DeepSeekMoE: a router that sends each token to a few of many small experts, and experts that every token
passes (arXiv 2412.19437, section 2.1.2). No token is dropped."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shoestring.models.config import ModelConfig
from shoestring.models.linear import Linear, is_watched
from shoestring.ops.coded_experts import CodedExperts, coded_experts
from shoestring.ops.experts import grouped_experts
from shoestring.ops.few import (
    FEW_PAIRS,
    FEW_ROWS,
    RouterRule,
    few_experts,
    few_library,
    few_routes,
    few_swiglu,
)
from shoestring.ops.packed import PackedCopy
from shoestring.ops.swiglu import silu_mul


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)); gate and up share one matrix."""

    def __init__(self, config: ModelConfig, intermediate_size: int) -> None:
        super().__init__()
        self.gate_up_proj = Linear(config.hidden_size, 2 * intermediate_size, bias=config.mlp_bias)
        self.down_proj = Linear(intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        few = x.shape[0] <= FEW_ROWS and not self.gate_up_proj.reads_panels
        weights = self.weights() if few else None
        library = few_library(x, *weights) if weights is not None else None
        if library is not None and weights is not None:
            return few_swiglu(library, x, *weights)
        return self.down_proj(silu_mul(self.gate_up_proj(x)))

    def weights(self) -> tuple[Tensor, Tensor] | None:
        """gate_up and down, where they are all there is to it: no bias, products in the weights' dtype, and
        nobody who watches."""
        first, last = self.gate_up_proj, self.down_proj
        if any(map(is_watched, (self, first, last))):
            return None
        if first.bias is not None or last.bias is not None or first.numerics == "fp8":
            return None
        if first.quantized is not None or last.quantized is not None:
            return None
        return first.weight, last.weight


class RoutingTrace:
    """What the mixture layers of one forward pass chose. `replay` (T, layers, K) makes them choose the same
    again, but for tokens whose entries are negative, which nobody recorded; `row_of` (T,) asks for the
    sequence-wise balance loss."""

    def __init__(self, replay: Tensor | None = None, row_of: Tensor | None = None) -> None:
        self.replay, self.row_of = replay, row_of
        self.chosen: list[Tensor] = []  # (T, K) of each layer so far
        self.experts = 0
        self.aux_loss: Tensor | None = None

    def next_choice(self) -> Tensor | None:
        """(T, K) to replay in the layer that asks."""
        return None if self.replay is None else self.replay[:, len(self.chosen)].long()

    def add(self, ids: Tensor, experts: int, aux_loss: Tensor | None) -> None:
        self.chosen.append(ids)
        self.experts = experts
        if aux_loss is not None:
            self.aux_loss = aux_loss if self.aux_loss is None else self.aux_loss + aux_loss

    def routing(self) -> Tensor:
        """(T, layers, K) int64."""
        return torch.stack(self.chosen, dim=1)

    def loads(self) -> Tensor:
        """(layers, E) int64: tokens that each expert got."""
        layers = len(self.chosen)
        offsets = torch.arange(layers, device=self.chosen[0].device) * self.experts
        numbered = self.routing() + offsets[:, None]
        return torch.bincount(numbered.flatten(), minlength=layers * self.experts).view(layers, self.experts)


class Router(nn.Module):
    """Scores in float32; the bias moves the choice of experts and never their weights."""

    e_score_correction_bias: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.rule = RouterRule(
            top_k=config.num_experts_per_tok,
            groups=1 if config.topk_method == "greedy" else config.n_group,
            kept_groups=config.topk_group,
            softmax=config.scoring_func == "softmax",
            biased=config.topk_method == "noaux_tc",
            normalised=config.norm_topk_prob,
            factor=config.routed_scaling_factor,
        )
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self._wide = PackedCopy(lambda weight: weight.float())
        self.register_buffer(
            "e_score_correction_bias", torch.zeros(config.n_routed_experts, dtype=torch.float32)
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = self.e_score_correction_bias
        super()._apply(fn, recurse)
        after = self.e_score_correction_bias
        if after.dtype != torch.float32:  # steps of 0.001 are lost in bf16
            kept = after if before.is_meta else before.to(after.device)
            self.e_score_correction_bias = kept.float()
        return self

    def wide(self) -> Tensor:
        """The weight in float32."""
        return self._wide.of(self.weight)

    def renew(self) -> None:
        self._wide.renew(self.weight)

    def keep_none(self) -> None:
        self._wide.keeps = False

    def forward(self, x: Tensor, trace: RoutingTrace) -> tuple[Tensor, Tensor]:
        """x (T, hidden) -> experts (T, K) int64 and their weights (T, K) float32."""
        c = self.config
        replayed = trace.next_choice()
        library = few_library(x) if replayed is None and x.shape[0] <= FEW_PAIRS else None
        if library is not None:
            ids, weights = few_routes(library, x, self.wide(), self.e_score_correction_bias, self.rule)
            trace.add(ids, c.n_routed_experts, None)
            return ids, weights
        wide = self.weight.float() if torch.is_grad_enabled() else self.wide()
        logits = F.linear(x.float(), wide)
        scores = logits.sigmoid() if c.scoring_func == "sigmoid" else logits.softmax(-1)
        ids = choose_experts(scores.detach(), self.e_score_correction_bias, c)
        if replayed is not None:
            ids = torch.where(replayed < 0, ids, replayed)
        weights = scores.gather(1, ids)
        if c.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        balance = None
        if trace.row_of is not None and torch.is_grad_enabled():
            balance = balance_loss(scores, trace.row_of, c.num_experts_per_tok)
        trace.add(ids, c.n_routed_experts, balance)
        return ids, weights * c.routed_scaling_factor


def choose_experts(scores: Tensor, bias: Tensor, config: ModelConfig) -> Tensor:
    """scores (T, E) -> the chosen (T, K). What is not eligible is masked with -inf: score + bias can be below
    0. "noaux_tc" (V3) adds the bias and ranks groups by their best two, "group_limited_greedy" (V2) by their
    best one, "greedy" knows no groups."""
    biased = config.topk_method == "noaux_tc"
    choice = scores + bias if biased else scores
    if config.n_group > 1 and config.topk_method != "greedy":
        grouped = choice.unflatten(1, (config.n_group, -1))
        ranks = grouped.topk(2, dim=-1)[0].sum(-1) if biased else grouped.amax(-1)
        kept = ranks.topk(config.topk_group, dim=-1, sorted=False)[1]
        hidden = torch.ones_like(ranks, dtype=torch.bool).scatter_(1, kept, False)
        choice = grouped.masked_fill(hidden[..., None], float("-inf")).flatten(1)
    return choice.topk(config.num_experts_per_tok, dim=-1, sorted=False)[1]


def balance_loss(scores: Tensor, row_of: Tensor, top_k: int) -> Tensor:
    """The complementary sequence-wise loss without its alpha (eq. 17-20), the mean over sequences:
    sum_i f_i P_i, f_i = E / (K T) * tokens whose K best scores include i, P_i the mean of the normalised
    score. 1 where everything is even."""
    experts = scores.shape[1]
    row_of = row_of.to(scores.device)
    rows = int(row_of[-1]) + 1
    best = scores.detach().topk(top_k, dim=-1, sorted=False)[1]
    hits = torch.zeros_like(scores).scatter_(1, best, 1.0)
    share = scores / scores.sum(-1, keepdim=True)
    lengths = torch.bincount(row_of, minlength=rows).to(scores.dtype)[:, None]
    zeros = scores.new_zeros(rows, experts)
    f = zeros.index_add(0, row_of, hits) * (experts / top_k) / lengths
    p = zeros.index_add(0, row_of, share) / lengths
    return (f * p).sum(-1).mean()


class Experts(nn.Module):
    """All routed experts of a layer in two tensors; where `quantized` is set it is what products read, and
    the tensors are shapes without numbers (`models.quantize`)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        count, inner = config.n_routed_experts, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(count, 2 * inner, config.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(count, config.hidden_size, inner))
        self.quantized: CodedExperts | None = None

    def weights(self) -> tuple[Tensor, Tensor] | None:
        """gate_up and down, where products are in their dtype and nobody watches."""
        if self.quantized is not None or is_watched(self):
            return None
        return self.gate_up_proj, self.down_proj

    def forward(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        if self.quantized is not None:
            return coded_experts(x, ids, weights, self.quantized)
        return grouped_experts(x, ids, weights, self.gate_up_proj, self.down_proj)


class MoE(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config)
        shared = config.n_shared_experts * config.moe_intermediate_size
        self.shared_experts = MLP(config, shared) if shared else None

    def forward(self, x: Tensor, trace: RoutingTrace) -> Tensor:
        """x (T, hidden) -> (T, hidden)."""
        ids, weights = self.gate(x, trace)
        if ids.numel() <= FEW_PAIRS:
            out = self._in_one_call(x, ids, weights)
            if out is not None:
                return out
        out = self.experts(x, ids, weights)
        return out if self.shared_experts is None else out + self.shared_experts(x)

    def _in_one_call(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor | None:
        """The same, where the kernel takes every expert that there is."""
        routed = self.experts.weights()
        shared = None if self.shared_experts is None else self.shared_experts.weights()
        if routed is None or (shared is None and self.shared_experts is not None):
            return None
        library = few_library(x, *routed, *(shared or ()))
        return None if library is None else few_experts(library, x, ids, weights, routed, shared)
