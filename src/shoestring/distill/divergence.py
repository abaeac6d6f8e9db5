"""How far the student S is from the teacher T, of log-probabilities over any classes: all tokens of the
vocabulary, or K tokens and one class for the rest.

forward_kl   KL(T || S) = sum_c T_c log(T_c / S_c)        covers all that the teacher may say
reverse_kl   KL(S || T) = sum_c S_c log(S_c / T_c)        keeps to what the teacher is likely to say
jsd          beta KL(T || M) + (1 - beta) KL(S || M),  M = beta T + (1 - beta) S,  0 < beta < 1

With S = softmax(a) the slopes d value / d a_c, which are written here by hand and held against autograd, are
S_c - T_c;   S_c (log(S_c / T_c) - KL(S || T));   (1 - beta) S_c (log(S_c / M_c) - KL(S || M)).
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from shoestring.settings import Settings

DivergenceName = Literal["forward_kl", "reverse_kl", "jsd"]
Tail = Literal["class", "dropped"]

ABSENT = -30.0  # log-probability of what the teacher can't say: a reverse KL to 0 would be infinite


class DivergenceSettings(Settings):
    """`tail` of a stored teacher: "class" makes one class of all tokens that weren't kept, "dropped" compares
    both distributions within the kept ones."""

    name: DivergenceName = "forward_kl"
    beta: float = Field(default=0.5, gt=0, lt=1)  # of jsd
    temperature: float = Field(default=1.0, gt=0)  # of both; a store's must be the same
    cross_entropy: float = Field(default=0.0, ge=0, lt=1)  # share of the loss that the data's own tokens have
    tail: Tail = "class"


def formula(settings: DivergenceSettings) -> str:
    """The loss in words, for the log and the lineage."""
    own = {
        "forward_kl": "KL(teacher || student)",
        "reverse_kl": "KL(student || teacher)",
        "jsd": f"Jensen-Shannon, beta {settings.beta:g}",
    }[settings.name]
    own += f" at temperature {settings.temperature:g}"
    if not settings.cross_entropy:
        return own
    return f"{1 - settings.cross_entropy:g} x {own} + {settings.cross_entropy:g} x cross entropy"


def divergence(student: Tensor, teacher: Tensor, settings: DivergenceSettings) -> tuple[Tensor, Tensor]:
    """student, teacher (R, C) log-probabilities -> value (R,) nats, and its slope (R, C) by the student's
    logits of these classes."""
    if settings.name == "forward_kl":
        t = teacher.exp()
        return (t * (teacher - student)).sum(-1), student.exp() - t
    if settings.name == "reverse_kl":
        s, apart = student.exp(), student - teacher
        value = (s * apart).sum(-1)
        return value, s * (apart - value[:, None])
    middle = _middle(student, teacher, settings.beta)
    s, apart = student.exp(), student - middle
    to_student = (s * apart).sum(-1)
    to_teacher = (teacher.exp() * (teacher - middle)).sum(-1)
    slope = (1 - settings.beta) * s * (apart - to_student[:, None])
    return settings.beta * to_teacher + (1 - settings.beta) * to_student, slope


def divergence_plain(student: Tensor, teacher: Tensor, settings: DivergenceSettings) -> Tensor:
    """The reference, for autograd: value (R,) alone, by torch's own KL."""
    kl: Callable[[Tensor, Tensor], Tensor] = lambda p, q: torch.nn.functional.kl_div(  # noqa: E731
        q, p, reduction="none", log_target=True
    ).sum(-1)
    if settings.name == "forward_kl":
        return kl(teacher, student)
    if settings.name == "reverse_kl":
        return kl(student, teacher)
    middle = _middle(student, teacher, settings.beta)
    return settings.beta * kl(teacher, middle) + (1 - settings.beta) * kl(student, middle)


def _middle(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    return torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))


def distribution_loss_plain(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    teacher_logprobs: Tensor,
    settings: DivergenceSettings,
    kept: Tensor | None = None,
) -> Tensor:
    """The reference: whole logits, torch's own autograd. teacher_logprobs (N, V) tempered; with `kept` (N, K)
    those tokens alone are classes of their own."""
    logits = torch.mm(hidden, weight.t())
    student = (logits / settings.temperature).log_softmax(-1)
    teacher = teacher_logprobs
    if kept is not None:
        student, teacher = (_grouped(x, kept, settings) for x in (student, teacher))
    own = logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    share = settings.cross_entropy
    return (weights * ((1 - share) * divergence_plain(student, teacher, settings) - share * own)).sum()


def _grouped(logprobs: Tensor, kept: Tensor, settings: DivergenceSettings) -> Tensor:
    """(N, V) -> (N, K) conditional on being kept, or (N, K + 1) with the rest's mass."""
    own = logprobs.gather(1, kept)
    if settings.tail == "dropped" or kept.shape[1] == logprobs.shape[1]:
        return own.log_softmax(-1)
    rest = logprobs.scatter(1, kept, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat((own, rest), 1)
