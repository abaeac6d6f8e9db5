"""What a stored teacher leaves out: the tokens that weren't kept are one class.

Grouping is a function of the token, so by the data-processing inequality no divergence here grows by it: the
grouped one is a lower bound of the whole. By the chain rule the difference is, for each token, with masses
t = T(rest), s = S(rest), m = M(rest) and T~, S~, M~ the distributions within the rest of R tokens,

forward_kl   t KL(T~ || S~)                            <= t (log R + span - H(T~))
reverse_kl   s KL(S~ || T~)                            <= s (log t - min_v log T_v)
jsd          b t KL(T~ || M~) + (1 - b) s KL(S~ || M~) <= m H_2(b t / m) <= m log 2

where span is the largest less the smallest of the student's tempered logits in the rest: -log S~_v =
log sum_u e^(a_u - a_v) <= log R + span, and the cross entropy of T~ and S~ is no more than that. For the
second, -log T~_v <= log t - min log T. For the third M~_v >= b T_v / m and M~_v >= (1 - b) S_v / m, so that
the KLs are at most log(m / (b t)) and log(m / ((1 - b) s)); H_2 is the entropy of two outcomes.

The forward KL's gradient by the logits changes by t (T~ - S~): in L1 norm by 2 t at most, whatever the
student is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TailBounds:
    """By token, (R,): the rest's mass under the teacher, and by how many nats a divergence may be too low.
    gradient: of the forward KL by the tempered logits, L1."""

    mass: Tensor
    forward_kl: Tensor
    reverse_kl: Tensor
    jsd: Tensor
    gradient: Tensor


def tail_bounds(
    teacher: Tensor, kept: Tensor, student: Tensor | None = None, beta: float = 0.5
) -> TailBounds:
    """teacher, student (R, V) log-probabilities, kept (R, K). Without a student: of one whose rest weighs as
    much as the teacher's and spreads no wider."""
    own = teacher if student is None else student
    count = teacher.shape[1] - kept.shape[1]
    if not count:
        none = torch.zeros_like(teacher[:, 0])
        return TailBounds(none, none, none, none, none)
    log_t, log_s = (_rest(x, kept).logsumexp(-1) for x in (teacher, own))
    t, s = log_t.exp(), log_s.exp()
    within = _rest(teacher, kept) - log_t[:, None]
    entropy = -(within.exp() * within.clamp(min=-1e30)).sum(-1)
    lowest, highest = own.scatter(1, kept, torch.inf).amin(-1), _rest(own, kept).amax(-1)
    least = teacher.scatter(1, kept, torch.inf).amin(-1)
    m = beta * t + (1 - beta) * s
    share = beta * t / m
    two = -torch.special.xlogy(share, share) - torch.special.xlogy(1 - share, 1 - share)
    span = torch.tensor(float(count)).log() + highest - lowest
    return TailBounds(t, t * (span - entropy), s * (log_t - least), m * two, 2 * t)


def _rest(logprobs: Tensor, kept: Tensor) -> Tensor:
    return logprobs.scatter(1, kept, -torch.inf)
