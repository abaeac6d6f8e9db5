"""From hidden states to a loss, without ever holding the logits of a whole batch with their graph."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from shoestring.ops.head import head_logits_plain, softmax_gradient_, target_logprobs
from shoestring.ops.linear import weight_gradient
from shoestring.train.batch import MicroBatch

# logprobs (N,) of all targets of a micro-batch -> their summed loss, already weighted
TokenLoss = Callable[[Tensor, MicroBatch], Tensor]


class HeadLoss(ABC):
    """A loss that looks at whole distributions, not at the targets' logprobs alone: it applies the head
    itself."""

    @abstractmethod
    def __call__(
        self,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        batch: MicroBatch,
        logits_of: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """hidden (N, d), weight (V, d), targets (N,) -> loss (), logprobs (N,) detached, as `head_loss`."""


CHUNK = 256  # rows of logits held in float32 at once


def sft_loss(logprobs: Tensor, batch: MicroBatch) -> Tensor:
    """-sum_t w_t log p(t): cross entropy, the mean over the step's trained tokens by the weights."""
    return -(logprobs * batch.weights).sum()


class _HeadLoss(torch.autograd.Function):
    """loss = f(log_softmax(hidden @ weight.T / temperature)[targets]).

    The gradient of the logits is dL/dlogp * (onehot - softmax). The second factor is known as soon as the
    logits are; the first, one number a token, once all logprobs are, since a loss may look at whole
    sequences. It is multiplied in where the products are small, so one pass makes loss, gradient of the
    hidden states and of the weight, and nothing is computed twice.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        loss_of: Callable[[Tensor], Tensor],
        temperature: float,
        logits_of: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        count = len(targets)
        grad_logits = hidden.new_empty(count, weight.shape[0])
        logprobs = torch.empty(count, device=hidden.device)
        ones = torch.ones(min(CHUNK, count), device=hidden.device)
        for start in range(0, count, CHUNK):
            rows = slice(start, min(start + CHUNK, count))
            logits = logits_of(hidden[rows])
            logprobs[rows], normalizer = target_logprobs(logits, targets[rows], temperature)
            slope = ones[: rows.stop - start]
            softmax_gradient_(logits, normalizer, targets[rows], slope, temperature, out=grad_logits[rows])
        with torch.enable_grad():
            leaf = logprobs.detach().requires_grad_()
            total = loss_of(leaf)
            (slopes,) = torch.autograd.grad(total, leaf)
        ctx.grad_hidden = _scaled(torch.mm(grad_logits, weight), slopes)
        ctx.grad_weight = None
        if weight.requires_grad:
            ctx.grad_weight = weight_gradient(grad_logits, _scaled(hidden, slopes))
        ctx.mark_non_differentiable(logprobs)
        return total.detach(), logprobs

    @staticmethod
    def backward(ctx, grad_total: Tensor, _grad_logprobs: Tensor):  # type: ignore[override]
        # the loss is the root of the graph: grad_total is 1, and scaling 28M numbers by it would be a waste
        assert grad_total.item() == 1.0, "the head's loss must be the root of backward()"
        return ctx.grad_hidden, ctx.grad_weight, None, None, None, None


def _scaled(rows: Tensor, factors: Tensor) -> Tensor:
    """rows (N, d) times factors (N,) float32, rounded once."""
    return (rows * factors[:, None]).to(rows.dtype)


def head_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    temperature: float = 1.0,
    logits_of: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """hidden (N, d), weight (V, d), targets (N,) -> loss (), logprobs (N,) detached. Call backward() on
    the loss itself. `logits_of` is the network's head, float32 logits of some rows of hidden."""
    if logits_of is None:
        logits_of = lambda h: head_logits_plain(h, weight)  # noqa: E731
    return _HeadLoss.apply(hidden, weight, targets, loss_of, temperature, logits_of)  # type: ignore[return-value]


def head_loss_plain(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The reference: whole logits, torch's own autograd."""
    logprobs = (torch.mm(hidden, weight.t()).float() / temperature).log_softmax(-1)
    chosen = logprobs.gather(1, targets[:, None]).squeeze(1)
    return loss_of(chosen), chosen.detach()
