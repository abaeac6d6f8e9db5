"""Experts shared out over ranks: a token's copies travel to the ranks that have its experts, and what these
make travels back (all-to-all, arXiv 2412.19437 section 3.2). No token is dropped, so each rank is told first
how many are to come."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

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
        self.told: tuple[Tensor, Tensor] | None = None  # what the latest pass sent and what came, by expert

    def weights(self) -> None:
        """None of the kernels that take every expert of a layer."""
        return None

    def forward(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        """x (T, h), ids (T, K) of all experts, weights (T, K) float32 -> (T, h)."""
        flat = ids.flatten()
        order = torch.argsort(flat, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        nothing = torch.empty(0, dtype=torch.int64, device=order.device)
        layout = Layout(place.view(ids.shape), [len(order)], nothing)
        to_send = torch.bincount(flat, minlength=self.total)
        to_come = torch.empty_like(to_send)
        with self.world.phase(f"{self.layer}: how many tokens to which expert"):
            if not self.world.traffic.exchange(to_come, to_send, None, None, self.world.expert_group):
                return self._stand_in(x)
        self.told = to_send, to_come
        made = self._own(self._there(spread(x, layout)), to_come.view(self.world.expert, -1))
        return combine(self._back(made), layout, weights)

    def _there(self, x: Tensor) -> Tensor:
        """Rows sorted by expert -> those of the own experts, sorted by sender and then by expert."""
        sent, come = self._counts()
        with self.world.phase(f"{self.layer}: tokens to their experts"):
            return exchange(x, come, sent, self.world)

    def _back(self, made: Tensor) -> Tensor:
        sent, come = self._counts()
        with self.world.phase(f"{self.layer}: what experts made, back"):
            return exchange(made, sent, come, self.world)

    def _counts(self) -> tuple[list[int], list[int]]:
        """Rows sent to each rank of the group, and to come from it."""
        assert self.told is not None
        sent, come = (counts.view(self.world.expert, -1).sum(1).tolist() for counts in self.told)
        return sent, come

    def _stand_in(self, x: Tensor) -> Tensor:
        """Where the others were told already of tokens that are no more: rows of zeros in their place. All of
        it takes part in the backward pass, so that it has the collectives that the others make."""
        sent, _ = self._counts()
        rows = self._there(x.new_zeros(sum(sent), x.shape[1]) + x.sum() * 0)
        weights = self.gate_up_proj.sum() + self.down_proj.sum()
        return x + (self._back(rows + weights * 0).sum() * 0).to(x.dtype)

    def _own(self, x: Tensor, counts: Tensor) -> Tensor:
        """x (R, h), sorted by sender and then by expert, counts (senders, own experts) -> (R, h)."""
        numbers = torch.arange(self.count, device=x.device).repeat(len(counts))
        ids = numbers.repeat_interleave(counts.flatten())[:, None]
        ones = torch.ones(ids.shape, device=x.device)
        return self.compute(x, ids, ones, self.gate_up_proj, self.down_proj)


def exchange(x: Tensor, come: list[int], sent: list[int], world: World) -> Tensor:
    """x (sum(sent), h), sent[r] rows of it for rank r of the experts' group -> (sum(come), h), come[r] from
    rank r."""
    return _Exchange.apply(x, come, sent, world)  # type: ignore[return-value]


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, come: list[int], sent: list[int], world: World) -> Tensor:  # type: ignore[override]
        ctx.come, ctx.sent, ctx.world = come, sent, world
        return _moved(x, come, sent, world)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        return _moved(grad, ctx.sent, ctx.come, ctx.world), None, None, None


def _moved(x: Tensor, come: list[int], sent: list[int], world: World) -> Tensor:
    out, x = x.new_empty(sum(come), x.shape[1]), x.contiguous()
    world.traffic.exchange(out, x, come, sent, world.expert_group)
    return out
