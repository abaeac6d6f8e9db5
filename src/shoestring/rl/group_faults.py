"""Faults that a step's groups show before any update is made of them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from shoestring.rl.faults import Fault
from shoestring.rl.rollout import Group, Rollout
from shoestring.tasks.base import Outcome
from shoestring.tasks.judge import Judge
from shoestring.text.message import Reply

CUT_SHARE = 0.5  # more than half of the replies cut: what is learnt is to be short, not to be right
LOOP = 32
AGREE = 0.5  # share of a group's replies that state the same
NONSENSE = Reply(None, "I would rather not say.")


def group_faults(groups: Sequence[Group], judge: Judge, version: int, control: bool) -> list[Fault]:
    """What makes groups no ground for an update. version: of the weights that ought to have sampled them.
    A control's reward may well be constant, and teach answers that are right elsewhere."""
    found = [wrong_groups(groups), stale_version(groups, version), not_finite(groups)]
    if not control:
        found += [constant_reward(groups, judge), swapped_gold(groups, judge)]
    return [fault for fault in found if fault is not None]


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
    Says nothing where answers are so few that any reply is right for some problem, or where most of the
    replies are the same few: a model that always says "1" is right somewhere."""
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
    if 2 * len({_stated(agreed[int(i)][1]) for i in matched}) <= len(matched):
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


def _agreed(group: Group) -> Reply | None:
    """The reply that at least AGREE of the group's ended ones state alike; None where they don't."""
    said: dict[str, list[Rollout]] = {}
    for rollout in group.rollouts:
        if not rollout.reply.cut and rollout.reply.answer.strip():
            said.setdefault(_stated(rollout.reply), []).append(rollout)
    most = max(said.values(), key=len, default=[])
    return most[0].reply if len(most) >= max(2, AGREE * len(group.rollouts)) else None


def _stated(reply: Reply) -> str:
    return " ".join(reply.answer.lower().split())


def _is_right(group: Group, reply: Reply) -> bool:
    return next(r for r in group.rollouts if r.reply == reply).verdict.outcome is Outcome.RIGHT
