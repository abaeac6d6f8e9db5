"""Ways in which a run is broken rather than unlucky, each known by what it leaves behind.

Every check is a function from what a step shows to a `Fault` or None; none of them changes anything.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from shoestring.rl.rollout import Group, Rollout
from shoestring.tasks.base import Outcome
from shoestring.tasks.judge import Judge
from shoestring.text.message import Reply
from shoestring.train.batch import MicroBatch

CUT_SHARE = 0.5  # more than half of the replies cut: what is learnt is to be short, not to be right
MISMATCH = 0.01  # nats a token between sampler and trainer; the same weights in bf16 are under 0.001
EXPLODED = 1.0  # nats a token that one update may move the policy; a healthy one moves it by under 0.05
LOOP = 32
AGREE = 0.5  # share of a group's replies that state the same
NONSENSE = Reply(None, "I would rather not say.")


@dataclass(frozen=True)
class Fault:
    """name is one of the docs' list; evidence says what was seen, advice what to do."""

    name: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; {self.advice}"


def cut_short(groups: Sequence[Group], max_tokens: int) -> Fault | None:
    rollouts = [r for g in groups for r in g.rollouts]
    cut = sum(r.reply.cut for r in rollouts)
    if not rollouts or cut <= CUT_SHARE * len(rollouts):
        return None
    return Fault(
        "cap too short",
        f"{cut} of {len(rollouts)} replies were truncated at {max_tokens} tokens",
        "raise max_completion_tokens, or teach shorter answers first (sft)",
    )


def wrong_groups(groups: Sequence[Group]) -> Fault | None:
    """A group's samples must answer one prompt: a mean over samples of several prompts is no baseline."""
    strays = [
        r.sequence.row_id
        for g in groups
        for r in g.rollouts
        if r.problem.id != g.problem.id or r.sequence.prompt != g.rollouts[0].sequence.prompt
    ]
    ids = Counter(g.rollouts[0].sequence.row_id.rpartition("/")[0] for g in groups if g.rollouts)
    strays += [name for name, count in ids.items() if count > 1]
    strays += [
        r.sequence.row_id
        for g in groups
        for r in g.rollouts
        if r.sequence.row_id.rpartition("/")[0] != g.rollouts[0].sequence.row_id.rpartition("/")[0]
    ]
    if not strays:
        return None
    return Fault(
        "wrong group ids",
        f"{len(set(strays))} samples stand in a group of another prompt, the first is {strays[0]}",
        "advantages would be against other prompts' rewards: mend what makes the groups",
    )


def stale_version(groups: Sequence[Group], version: int) -> Fault | None:
    versions = Counter(r.sequence.version for g in groups for r in g.rollouts)
    stale = {v: n for v, n in versions.items() if v != version}
    if not stale:
        return None
    found = ", ".join(f"{n} from version {v}" for v, n in sorted(stale.items()))
    return Fault(
        "stale weights",
        f"the trainer is at version {version}, of the replies {found}",
        "the generator didn't take the weights that were handed over",
    )


def constant_reward(groups: Sequence[Group], judge: Judge) -> Fault | None:
    """Every reward alike, though the verdicts differ, or though saying nothing of use earns it too."""
    rewards = [reward for g in groups for reward in g.rewards]
    if len(rewards) < 2 or max(rewards) - min(rewards) > 1e-6:
        return None
    whole = [r for g in groups for r in g.rollouts if r.reward is not None and not r.reply.cut]
    outcomes = {r.verdict.outcome for r in whole}
    evidence = ""
    if Outcome.RIGHT in outcomes and len(outcomes) > 1:
        evidence = f"right and wrong replies alike earn {rewards[0]:g}"
    elif outcomes == {Outcome.RIGHT}:
        problems = {g.problem.id: g.problem for g in groups}
        verdicts = judge.score([(name, problem, NONSENSE) for name, problem in problems.items()])
        paid = sum(v.outcome is Outcome.RIGHT for v in verdicts.values())
        if paid == len(problems):
            evidence = f"all {len(rewards)} rewards are {rewards[0]:g}, and {NONSENSE.answer!r} earns it too"
    if not evidence:
        return None
    return Fault("constant reward", evidence, "the scorer or the reward doesn't look at the answer")


def swapped_gold(groups: Sequence[Group], judge: Judge) -> Fault | None:
    """Replies that agree with each other and are right for other problems of the step, not for their own.
    Says nothing where answers are so few that any reply is right for some problem."""
    agreed = [(g, reply) for g in groups if (reply := _agreed(g)) is not None]
    if len(agreed) < 4 or fmean(_is_right(g, reply) for g, reply in agreed) > 0.1:
        return None
    pairs = [
        (f"{i}/{j}", replace(own.problem, hidden=other.problem.hidden), reply)
        for i, (own, reply) in enumerate(agreed)
        for j, (other, _) in enumerate(agreed)
        if i != j and own.problem.family == other.problem.family
    ]
    right = {name for name, v in judge.score(pairs).items() if v.outcome is Outcome.RIGHT}
    matched = {name.split("/")[0] for name in right}
    if len(matched) < AGREE * len(agreed) or len(right) > 3 * len(matched):
        return None
    return Fault(
        "shuffled gold",
        f"in {len(agreed)} groups the replies agree with each other and not with the given answer, and "
        f"{len(matched)} of them are right for another problem of the step",
        "answers stand beside the wrong problems: look at the data or at what joins them",
    )


def not_finite(groups: Sequence[Group]) -> Fault | None:
    bad = sum(not all(map(math.isfinite, r.sequence.logprobs)) for g in groups for r in g.rollouts)
    if not bad:
        return None
    return Fault(
        "logprobs not finite",
        f"{bad} replies have a token whose logprob is NaN or infinite",
        "the weights are broken: go back to an earlier state and lower the learning rate",
    )


def babbling(groups: Sequence[Group]) -> Fault | None:
    """Replies that end in one token over and over, as a broken model's do."""
    rollouts = [r for g in groups for r in g.rollouts]
    loops = sum(len(r.sequence.ids) >= LOOP and len(set(r.sequence.ids[-LOOP:])) == 1 for r in rollouts)
    if not rollouts or loops <= CUT_SHARE * len(rollouts):
        return None
    return Fault(
        "one token for ever",
        f"{loops} of {len(rollouts)} replies end in one token, {LOOP} times or more",
        "the policy has broken down: go back to an earlier state and lower the learning rate",
    )


def end_not_trained(
    groups: Sequence[Group], batches: Sequence[MicroBatch], stop_ids: Sequence[int]
) -> Fault | None:
    """Each reply that ended by itself has its end-of-turn token in the loss, with a weight."""
    ended = sum(not r.reply.cut and r.reward is not None for g in groups for r in g.rollouts)
    trained = sum(
        int(((batch.weights > 0) & _among(batch, stop_ids)).sum()) for batch in batches if len(batch.weights)
    )
    if trained >= ended:
        return None
    return Fault(
        "pad = eos",
        f"{ended} replies ended by themselves and {trained} end-of-turn tokens are in the loss",
        "the model would never learn to stop: give the padding a token of its own",
    )


def disagreeing(mismatch_kl: float, first: bool, temperature: float, fitted: float) -> Fault | None:
    """mismatch_kl: sampler against trainer under the same weights. fitted: the temperature under which the
    trainer's logprobs would fit the sampler's best. first: whether no update of this process came before."""
    if mismatch_kl <= MISMATCH:
        return None
    seen = f"sampler and trainer are {mismatch_kl:.3g} nats a token apart under what should be one policy"
    if abs(fitted / temperature - 1) > 0.05:
        return Fault(
            "temperature on one side",
            f"{seen}; the sampler's tokens fit temperature {fitted:g}, the trainer's is {temperature:g}",
            "use one temperature (and no top_p or top_k) on both sides",
        )
    if first:
        advice = "other numerics or another model on one side: compare their logprobs before training"
        return Fault("sampler and trainer disagree", seen, advice)
    return Fault(
        "stale weights",
        f"{seen}, and they were not before the first update",
        "the generator didn't take the weights that were handed over",
    )


def exploded(drift: float, learning_rate: float) -> Fault | None:
    """drift: nats a token between the policy before an update and after it; not finite counts as far."""
    if drift <= EXPLODED:  # not for NaN
        return None
    return Fault(
        "exploding learning rate",
        f"one update at {learning_rate:.3g} moved the policy by {drift:.3g} nats a token",
        "lower the learning rate",
    )


def _agreed(group: Group) -> Reply | None:
    """The reply that at least AGREE of the group's ended ones state alike; None where they don't."""
    said: dict[str, list[Rollout]] = {}
    for rollout in group.rollouts:
        if not rollout.reply.cut and rollout.reply.answer.strip():
            said.setdefault(" ".join(rollout.reply.answer.lower().split()), []).append(rollout)
    most = max(said.values(), key=len, default=[])
    return most[0].reply if len(most) >= max(2, AGREE * len(group.rollouts)) else None


def _is_right(group: Group, reply: Reply) -> bool:
    return next(r for r in group.rollouts if r.reply == reply).verdict.outcome is Outcome.RIGHT


def _among(batch: MicroBatch, stop_ids: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.isin(batch.packed.targets, list(stop_ids)))
