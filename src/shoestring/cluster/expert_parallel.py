"""Experts shared out over ranks: a token's copies travel to the ranks that have its experts, and what these
make travels back (all-to-all, arXiv 2412.19437 section 3.2). No token is dropped, so each rank is told first
how many are to come."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from shoestring.cluster.world import World
from shoestring.models.moe import Experts
from shoestring.models.numerics import FP8Experts
from shoestring.ops.experts import Layout, combine, grouped_experts, spread
from shoestring.ops.fp8 import fp8_grouped_experts

Compute = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class ParallelExperts(Experts):
    """The experts first : first + count of a layer, in place of all of them."""

    def __init__(self, whole: Experts, world: World, layer: str) -> None:
        """Takes its part of the weights of `whole`, which may be without numbers (meta)."""
        nn.Module.__init__(self)
        self.total = len(whole.gate_up_proj)
        self.count = self.total // world.expert
        self.first = self.count * world.expert_rank
        own = slice(self.first, self.first + self.count)
        # a copy: a view would hold the memory of all
        self.gate_up_proj = nn.Parameter(whole.gate_up_proj.detach()[own].clone())
        self.down_proj = nn.Parameter(whole.down_proj.detach()[own].clone())
        self.world, self.layer = world, layer
        self.compute: Compute = fp8_grouped_experts if isinstance(whole, FP8Experts) else grouped_experts
        self.sent_bytes = 0  # to other ranks by this one, in the forward passes so far

    def weights(self) -> None:
        """None of the kernels that take every expert of a layer."""
        return None

    def forward(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        """x (T, h), ids (T, K) of all experts, weights (T, K) float32 -> (T, h)."""
        group, size = self.world.expert_group, self.world.expert
        flat = ids.flatten()
        order = torch.argsort(flat, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        nothing = torch.empty(0, dtype=torch.int64, device=order.device)
        layout = Layout(place.view(ids.shape), [len(order)], nothing)
        to_send = torch.bincount(flat, minlength=self.total)
        with self.world.phase(f"{self.layer}: tokens to their experts"):
            to_come = torch.empty_like(to_send)
            dist.all_to_all_single(to_come, to_send, group=group)
            sent = to_send.view(size, -1).sum(1).tolist()
            come = to_come.view(size, -1).sum(1).tolist()
            arrived = exchange(spread(x, layout), come, sent, group)
        self.sent_bytes += (sum(sent) - sent[self.world.expert_rank]) * x.shape[1] * x.element_size()
        made = self._own(arrived, to_come.view(size, -1))
        with self.world.phase(f"{self.layer}: what experts made, back"):
            back = exchange(made, sent, come, group)
        return combine(back, layout, weights)

    def _own(self, x: Tensor, counts: Tensor) -> Tensor:
        """x (R, h), sorted by sender and then by expert, counts (senders, own experts) -> (R, h)."""
        numbers = torch.arange(self.count, device=x.device).repeat(len(counts))
        ids = numbers.repeat_interleave(counts.flatten())[:, None]
        ones = torch.ones(ids.shape, device=x.device)
        return self.compute(x, ids, ones, self.gate_up_proj, self.down_proj)


def exchange(x: Tensor, come: list[int], sent: list[int], group: ProcessGroup) -> Tensor:
    """x (sum(sent), h), sent[r] rows of it for rank r of the group -> (sum(come), h), come[r] from rank r."""
    return _Exchange.apply(x, come, sent, group)  # type: ignore[return-value]


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx, x: Tensor, come: list[int], sent: list[int], group: ProcessGroup
    ) -> Tensor:
        ctx.come, ctx.sent, ctx.group = come, sent, group
        return _moved(x, come, sent, group)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        return _moved(grad, ctx.sent, ctx.come, ctx.group), None, None, None


def _moved(x: Tensor, come: list[int], sent: list[int], group: ProcessGroup) -> Tensor:
    out = x.new_empty(sum(come), x.shape[1])
    dist.all_to_all_single(out, x.contiguous(), come, sent, group=group)
    return out
