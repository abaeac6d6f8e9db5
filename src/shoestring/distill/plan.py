"""What a store of teacher's logprobs will take and cost, said before it is written: measured on a first
micro-batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.distill.divergence import DivergenceSettings, Tail, divergence
from shoestring.distill.live import LiveTeacher
from shoestring.distill.store import bytes_per_token
from shoestring.distill.tail import TailBounds, tail_bounds
from shoestring.train.batch import MicroBatch

TOKENS = 512  # of the first micro-batch that are looked at


@dataclass(frozen=True)
class StorePlan:
    """Means over `measured` tokens but for mass_max. forward_kl, reverse_kl, jsd: nats a token by which that
    divergence may be too low, as `distill.tail` says; rounding: nats between the kept classes and their
    float16 form."""

    k: int
    vocab: int
    temperature: float
    bytes_per_token: int
    measured: int
    mass: float
    mass_max: float
    forward_kl: float
    reverse_kl: float
    jsd: float
    gradient: float
    rounding: float

    def lines(self, tokens: int, rows: int, tail: Tail) -> list[str]:
        """tail: what is done with the tokens that aren't kept."""
        size = self.bytes_per_token * tokens / 1e6
        return [
            f"teacher's logprobs: {self.k} of {self.vocab:,} tokens at temperature {self.temperature:g}, "
            f"{self.bytes_per_token} bytes a token: {size:,.1f} MB for {tokens:,} tokens of {rows:,} rows",
            f"the other tokens' mass, over the first {self.measured} tokens: {self.mass:.2%} in the mean, "
            f"{self.mass_max:.1%} at most; float16 adds {self.rounding:.1e} nats",
            self._left_out(tail),
        ]

    def _left_out(self, tail: Tail) -> str:
        if tail == "dropped":
            return (
                "the other tokens are dropped: by how much a divergence or its gradient is off has no bound "
                "here, for it hangs on what the student gives them"
            )
        return (
            f"in the mean of these {self.measured} tokens, not for each, a divergence is too low by at most "
            f"{self.forward_kl:.4f} (forward KL), {self.reverse_kl:.4f} (reverse KL), {self.jsd:.4f} "
            "(Jensen-Shannon) nats, for a student whose other tokens weigh as much as the teacher's and "
            f"spread no wider; the forward KL's gradient is off by at most {self.gradient:.4f} (L1) whatever "
            "the student, as long as the other tokens are one class"
        )


@torch.no_grad()
def plan_store(teacher: LiveTeacher, batch: MicroBatch, k: int, temperature: float) -> StorePlan:
    """One forward pass of the teacher."""
    hidden = teacher.hidden(batch)[:TOKENS]
    bounds: list[TailBounds] = []
    rounding: list[Tensor] = []
    for rows in hidden.split(64):
        logprobs = (teacher.logits(rows) / temperature).log_softmax(-1)
        top = logprobs.topk(min(k, teacher.vocab), dim=-1)
        bounds.append(tail_bounds(logprobs, top.indices))
        rounding.append(_rounding(top.values))
    mean = lambda name: torch.cat([getattr(b, name) for b in bounds]).mean().item()  # noqa: E731
    return StorePlan(
        k=min(k, teacher.vocab),
        vocab=teacher.vocab,
        temperature=temperature,
        bytes_per_token=bytes_per_token(min(k, teacher.vocab), teacher.vocab),
        measured=len(hidden),
        mass=mean("mass"),
        mass_max=max(b.mass.max().item() for b in bounds),
        forward_kl=mean("forward_kl"),
        reverse_kl=mean("reverse_kl"),
        jsd=mean("jsd"),
        gradient=mean("gradient"),
        rounding=torch.cat(rounding).mean().item(),
    )


def _rounding(kept: Tensor) -> Tensor:
    """KL (R,) of the kept classes, made to sum to 1, to their float16 form."""
    exact = kept.double().log_softmax(-1)
    return divergence(kept.half().double().log_softmax(-1), exact, DivergenceSettings())[0]
