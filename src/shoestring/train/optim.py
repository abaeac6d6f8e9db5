"""AdamW on float32 master weights, and the learning rate's path."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from shoestring.ops.native import Library, library_for
from shoestring.settings import Settings


class OptimSettings(Settings):
    learning_rate: float = Field(default=2e-5, gt=0)
    warmup_steps: int = Field(default=5, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    constant_share: float = Field(default=0.0, ge=0, lt=1)  # of the steps, at the peak before a cosine begins
    final_share: float = Field(default=0.1, ge=0, le=1)  # of the peak, where a cosine ends
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)  # 0: no clipping


def learning_rate_at(settings: OptimSettings, step: int, total_steps: int) -> float:
    """Of 0-based `step`: linear from peak / warmup_steps to the peak, then constant, or constant for
    constant_share of the steps and a cosine to final_share * peak at the last step."""
    peak = settings.learning_rate
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return peak
    begin = max(settings.warmup_steps, round(settings.constant_share * total_steps))
    done = max(0.0, (step - begin) / max(1, total_steps - 1 - begin))
    low = settings.final_share * peak
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def adamw(matrices: list[Tensor], vectors: list[Tensor], settings: OptimSettings) -> torch.optim.AdamW:
    """Its learning rate is set step by step. Weight decay leaves vectors (norms, biases) alone."""
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=0.0, betas=betas, eps=settings.epsilon, fused=True
    )


class MasterOptimizer:
    """AdamW whose weights, gradients and moments are float32 whatever the network's dtype.

    Gradients of micro-batches are summed in float32: in bf16 a sum of many small ones stops growing. The
    network's own copy is rewritten once a step, not cast once a micro-batch.
    """

    def __init__(self, network: nn.Module, settings: OptimSettings) -> None:
        self.settings = settings
        self.params = [p for p in network.parameters() if p.requires_grad]
        self.names = [n for n, p in network.named_parameters() if p.requires_grad]
        self.master = [p.detach().clone().float() for p in self.params]
        self.grads = [torch.zeros_like(m) for m in self.master]
        self.library = library_for(*self.params)
        for p, m, grad in zip(self.params, self.master, self.grads, strict=True):
            p.register_post_accumulate_grad_hook(_move_into(m, grad, self.library))
        matrices = [m for m in self.master if m.dim() > 1]
        self.adam = adamw(matrices, [m for m in self.master if m.dim() == 1], settings)

    @torch.no_grad()
    def step(self, learning_rate: float) -> float:
        """Clip, update, rewrite the network's weights, clear the gradients. Returns the norm before
        clipping; a norm that isn't finite skips the update (the caller counts it)."""
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in self.grads])).item()
        if math.isfinite(norm):
            limit = self.settings.max_grad_norm
            self._update(learning_rate, limit / (norm + 1e-6) if limit and norm > limit else 1.0)
        else:
            torch._foreach_zero_(self.grads)  # pyright: ignore
        for m in self.master:
            m.grad = None
        return norm

    def _update(self, learning_rate: float, scale: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        if self.library is None:
            self._step_torch(scale)
        else:
            self._step_native(self.library, scale)

    def _step_torch(self, scale: float) -> None:
        if scale != 1.0:
            torch._foreach_mul_(self.grads, scale)  # pyright: ignore
        self.adam.step()
        for p, m in zip(self.params, self.master, strict=True):
            p.copy_(m)
        torch._foreach_zero_(self.grads)  # pyright: ignore

    def _step_native(self, library: Library, scale: float) -> None:
        """The same in one pass over memory instead of five: it was a tenth of a step of 32 rows."""
        own = {m: p for p, m in zip(self.params, self.master, strict=True)}
        for group in self.adam.param_groups:
            (beta1, beta2), rate = group["betas"], group["lr"]
            for m in group["params"]:
                if m.grad is None:
                    continue
                state = self.adam.state[m]
                if not state:
                    state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(m)}
                    state["exp_avg_sq"] = torch.zeros_like(m)
                state["step"] += 1
                done, weight = state["step"].item(), own[m].detach()
                library.call(
                    "adamw", (weight,), m.grad, m, state["exp_avg"], state["exp_avg_sq"], weight, m.numel(),
                    scale, rate, 1 - rate * group["weight_decay"], beta1, beta2, group["eps"],
                    1 - beta1**done, math.sqrt(1 - beta2**done),
                )  # fmt: skip
                torch.autograd.graph.increment_version(weight)  # so that packed copies of it are made anew

    @torch.no_grad()
    def clear(self) -> None:
        """Drop the gradients, also those of a backward pass that broke off."""
        torch._foreach_zero_(self.grads)  # pyright: ignore
        for p, m in zip(self.params, self.master, strict=True):
            p.grad = m.grad = None

    @torch.no_grad()
    def try_out(self) -> None:
        """Hold what a first step holds, its moments beside the gradients, and drop both: nothing is
        stepped."""
        assert not self.adam.state, "a rehearsal comes before the first step"
        # filled: pages of zeros that nobody wrote to take no memory
        moments = [torch.empty_like(m).fill_(0.0) for m in self.master for _ in range(2)]
        moments.clear()
        self.clear()

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs, by name."""
        found: dict[str, Tensor] = {}
        for name, m in zip(self.names, self.master, strict=True):
            found[f"master.{name}"] = m
            for key, value in self.adam.state.get(m, {}).items():
                found[f"{key}.{name}"] = value
        return found

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        for name, p, m in zip(self.names, self.params, self.master, strict=True):
            m.copy_(tensors[f"master.{name}"])
            p.copy_(m)
            self.adam.state.pop(m, None)
            if f"exp_avg.{name}" in tensors:
                keys = ("step", "exp_avg", "exp_avg_sq")
                # a copy, on the weights' device: the step count too, where AdamW is fused
                self.adam.state[m] = {key: tensors[f"{key}.{name}"].to(m.device, copy=True) for key in keys}


def _move_into(master: Tensor, grad: Tensor, library: Library | None) -> Callable[[Tensor], None]:
    """Hands what arrives to `grad`, which becomes the master's gradient."""

    def move(param: Tensor) -> None:
        own = param.grad
        assert own is not None
        if library is not None and own.is_contiguous():
            library.call("add_into", (own,), own, grad, own.numel())
        else:
            grad.add_(own)
        param.grad, master.grad = None, grad

    return move
