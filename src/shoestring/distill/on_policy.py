"""The student's own samples, judged by the teacher token by token.

token          the policy loss with A_t = w_teacher (log p_T(t) - log p_S(t)) + w_task A of the sample, p_S
               as it was sampled from. No token looks ahead: A_t says nothing of what came of it. In
               expectation over t ~ p_S its gradient is that of -KL(S || T) at that place, for
               E[grad log p_S] = 0 takes care of the constant.
distribution   the loss w_teacher KL(S || T) over all tokens of that place, whose gradient is what the first
               estimates, + w_task x the policy loss.

Both are of the distributions at the temperature that was sampled at.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from shoestring.distill.live import LiveLoss, LiveTeacher
from shoestring.train.batch import MicroBatch
from shoestring.train.loss import HeadLoss, TokenLoss, head_loss

# log p_T (N,) of a micro-batch's targets, on the CPU
TeacherLogprobs = Callable[[MicroBatch], Tensor]


@dataclass(frozen=True)
class Annotate:
    """A micro-batch of the student's samples with the teacher's view of them. Its logprobs also stand as the
    reference's, so that a run's `kl` is the distance to the teacher."""

    logprobs_of: TeacherLogprobs
    teacher_weight: float
    task_weight: float

    def __call__(self, batch: MicroBatch) -> MicroBatch:
        assert batch.advantages is not None
        assert batch.sampler_logprobs is not None
        teacher = self.logprobs_of(batch)
        signal = self.teacher_weight * (teacher - batch.sampler_logprobs)
        return dataclasses.replace(
            batch, advantages=signal + self.task_weight * batch.advantages, reference_logprobs=teacher
        )


@dataclass(frozen=True)
class WithTask(HeadLoss):
    """weight * divergence + policy loss, where there is one: a second pass over the head."""

    divergence: LiveLoss
    weight: float
    policy: TokenLoss | None

    def __call__(
        self,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        batch: MicroBatch,
        logits_of: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        weighed = dataclasses.replace(batch, weights=self.weight * batch.weights)
        apart, logprobs = self.divergence(hidden, weight, targets, weighed, logits_of)
        policy = self.policy
        if policy is None:
            return apart, logprobs
        of_batch = lambda own: policy(own, batch)  # noqa: E731
        paid, _ = head_loss(hidden, weight, targets, of_batch, self.divergence.at, logits_of)
        return apart + paid, logprobs


def logprobs_of(teacher: LiveTeacher, temperature: float) -> TeacherLogprobs:
    return lambda batch: teacher.target_logprobs(batch, temperature)
