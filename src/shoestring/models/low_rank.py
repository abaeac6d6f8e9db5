"""LoRA (arXiv 2106.09685): of a matrix W only a product of two thin ones is learned, W + (alpha / r) B A.

The layer's weight always holds the sum. So there is one truth: what is sampled is what is trained, every
kernel and packed copy reads the weight as ever, and a forward pass costs nothing more. Only the backward pass
differs (`ops.linear.low_rank_linear`): it makes the gradients of A and B without that of W."""

import torch
from torch import Tensor, nn

from shoestring.ops.linear import low_rank_linear


class Factors(nn.Module):
    """Of the rows start : start + N of a layer's matrix: A (r, K), B (N, r), both float32, and the rows as
    they were, in their own dtype."""

    base: Tensor

    def __init__(self, base: Tensor, start: int, rank: int) -> None:
        super().__init__()
        rows, width = base.shape
        self.start, self.stop = start, start + rows
        self.A = nn.Parameter(torch.zeros(rank, width, device=base.device))
        self.B = nn.Parameter(torch.zeros(rows, rank, device=base.device))
        self.register_buffer("base", base.detach().clone(), persistent=False)


class LowRank(nn.Module):
    """What is learned of one `Linear`: factors for each of the public matrices in it that are a target."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.parts = nn.ModuleDict()

    def factors(self) -> list[Factors]:
        return [part for part in self.parts.values() if isinstance(part, Factors)]

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (T, K) -> (T, N) by the weight as it is; gradients go to x, A and B."""
        parts = self.factors()
        spans = [(part.start, part.stop) for part in parts]
        pairs = [tensor for part in parts for tensor in (part.A, part.B)]
        return low_rank_linear(x, weight, bias, spans, self.scale, pairs)

    @torch.no_grad()
    def merge(self, weight: Tensor) -> None:
        """The weight becomes W + (alpha / r) B A, summed in float32 and rounded once."""
        for part in self.factors():
            rows = torch.addmm(part.base.float(), part.B, part.A, alpha=self.scale)
            weight[part.start : part.stop].copy_(rows)

    @torch.no_grad()
    def unmerge(self, weight: Tensor) -> None:
        """The weight becomes W again, bit for bit."""
        for part in self.factors():
            weight[part.start : part.stop].copy_(part.base)
