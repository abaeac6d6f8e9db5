"""Groups of rollouts made by hand."""

from collections.abc import Sequence

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.origin import Origin
from shoestring.rl.batch import make_batches
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.rollout import Group, Rollout
from shoestring.rl.rollout import Sequence as Sampled
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.text.message import Reply
from shoestring.train.batch import MicroBatch

PROMPT = [10, 11, 12]


def problem(name: str = "p") -> Problem:
    return Problem("sums", "", name, f"What is {name}?", {}, Origin("procedural:sums", "CC0-1.0"))


def rollout(
    reward: float | None,
    length: int = 2,
    cut: bool = False,
    outcome: Outcome | None = None,
    name: str = "p",
    number: int = 0,
) -> Rollout:
    """Token ids 20, 21, ...; each was sampled with logprob -1."""
    outcome = outcome or (Outcome.RIGHT if reward else Outcome.WRONG)
    sequence = Sampled(PROMPT, list(range(20, 20 + length)), [-1.0] * length, 0, f"{name}/{number}")
    reply = Reply(None, "" if cut else "1", cut)
    return Rollout(problem(name), sequence, reply, Verdict(outcome, reward or 0.0), reward)


def group(rewards: Sequence[float | None], lengths: Sequence[int] | None = None, name: str = "p") -> Group:
    lengths = lengths or [2] * len(rewards)
    pairs = enumerate(zip(rewards, lengths, strict=True))
    return Group(problem(name), "sums", [rollout(r, n, name=name, number=i) for i, (r, n) in pairs])


def sampled_batches(
    lm, temperature: float, micro_batch_tokens: int, record_routing: bool = False
) -> list[MicroBatch]:
    """Three groups of four samples with rewards 1, 0, 0, 0, sampled by the engine."""
    prompts = [lm.tokenizer.encode("what is " + "x" * n) for n in (1, 9, 4)]
    params = SamplingParams(12, temperature, n=4, seed=2, record_routing=record_routing)
    groups = []
    for prompt, samples in zip(prompts, Engine(lm, 5).generate(prompts, params), strict=True):
        rollouts = [
            Rollout(
                problem(),
                Sampled(prompt, c.ids, c.logprobs, 0, f"{i}", c.routing),
                Reply(None, ""),
                Verdict(Outcome.WRONG, 0.0),
                float(i == 0),
            )
            for i, c in enumerate(samples)
        ]
        groups.append(Group(problem(), "sums", rollouts))
    return make_batches(groups, PolicyLossSettings(), 12, micro_batch_tokens)
