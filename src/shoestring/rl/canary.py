"""Two throw-away updates before the first real one: does training do anything, and nothing unless told to?"""

from torch import Tensor

from shoestring.rl.faults import Fault, exploded
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.ratios import k3
from shoestring.rl.reference import logprobs_of
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings

# Adam's first step is as long for a faint gradient as for a steep one: on samples that are nearly certain
# already it may go past what it aims at (smollm2 in bf16: -0.014 to -0.026 at 1e-4, to -0.013 at 3e-5). A
# wrong sign is wrong at any rate; but at a hundredth the rounding of bf16 weights is as large as the step.
LESS = (0.3, 0.1)


def canaries(learner: Learner, batch: MicroBatch, temperature: float) -> list[Fault]:
    """batch: a few samples, each with advantage 1. An update at learning rate 0 must leave their logprobs as
    they are; one at the run's own rate must move weights and make the samples likelier. Weights, moments and
    counts are put back bit for bit."""
    kept, settings = learner.snapshot(), learner.settings
    before = logprobs_of(learner.lm.network, batch, temperature, batch.routing)

    def likelier_at(part: float) -> bool:
        learner.load_state_dict(kept)
        after = _update(learner, batch, temperature, settings, part * settings.learning_rate)
        return bool(after.mean() > before.mean())

    faults: list[Fault] = []
    try:
        still = _update(learner, batch, temperature, settings, 0.0)
        if not bool((still == before).all()):
            faults.append(
                Fault(
                    "an update at learning rate 0 changes the model",
                    f"a logprob moved by {(still - before).abs().max().item():.3g}",
                    "something beside the optimizer writes to the weights, or two passes over them differ",
                )
            )
        after = _update(learner, batch, temperature, settings, settings.learning_rate)
        if bool((after == before).all()):
            faults.append(
                Fault(
                    "an update changes nothing",
                    f"at learning rate {settings.learning_rate:g} no logprob moved",
                    "the gradient or the learning rate is lost on its way, or the rate is too small for the "
                    "weights' precision",
                )
            )
        elif far := exploded(k3(before, after).mean().item(), settings.learning_rate):
            faults.append(far)
        elif after.mean() <= before.mean() and not any(map(likelier_at, LESS)):
            faults.append(
                Fault(
                    "a rewarded token becomes less likely",
                    f"mean logprob {before.mean().item():.4g} before an update with advantage 1, "
                    f"{after.mean().item():.4g} after it, nor likelier at 0.3 or 0.1 of the rate",
                    "the loss has its sign wrong",
                )
            )
    finally:
        learner.settings = settings
        learner.load_state_dict(kept)
    return faults


def _update(
    learner: Learner, batch: MicroBatch, temperature: float, settings: OptimSettings, rate: float
) -> Tensor:
    """The samples' logprobs after one update, without warm-up."""
    own = {"learning_rate": rate, "warmup_steps": 0, "schedule": "constant"}
    learner.settings = settings.model_copy(update=own)
    learner.update([batch], PolicyLoss(PolicyLossSettings()), temperature)
    return logprobs_of(learner.lm.network, batch, temperature, batch.routing)
