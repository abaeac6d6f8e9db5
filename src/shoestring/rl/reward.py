"""From verdicts to rewards, and the controls that any claim of learning is held against."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np

from shoestring.engine.request import Completion
from shoestring.ops.sample import stream_key, uniforms
from shoestring.rl.rollout import Asked, Group, Rollout, left_out
from shoestring.rl.rollout import Sequence as Sampled
from shoestring.tasks.base import Outcome, Verdict
from shoestring.text.message import Reply

RewardKind = Literal["task", "random", "format"]


def reward_of(
    kind: RewardKind, verdict: Verdict, reply: Reply, truncated: str, seed: int, row_id: str
) -> float | None:
    """task: the verdict's value. format: 1 when the reply ended by itself and held an answer, right or not.
    random: a fair coin keyed on the sample. None leaves the sample out of the loss."""
    if left_out(verdict) or (reply.cut and truncated == "left_out"):
        return None
    if kind == "random":
        key = np.array([stream_key(seed, f"coin/{row_id}", 0)], dtype=np.uint64)
        return float(uniforms(key, np.array([0]))[0] < 0.5)
    if reply.cut:
        return 0.0
    if kind == "format":
        said = verdict.outcome is Outcome.OPEN and bool(reply.answer.strip())
        return float(said or verdict.outcome in (Outcome.RIGHT, Outcome.WRONG))
    return verdict.value


def make_groups(
    judged: Sequence[tuple[Asked, list[tuple[Completion, Reply, Verdict]]]],
    kind: RewardKind,
    truncated: str,
    seed: int,
    extra: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    weights: Mapping[str, float] = MappingProxyType({}),
) -> list[Group]:
    """`extra`: named parts by row id, which join the verdict's; `weights` says what of the parts adds to the
    task's reward. The controls see none of them."""
    groups = []
    for asked, samples in judged:
        rollouts = []
        for i, (completion, reply, verdict) in enumerate(samples):
            row_id = f"{asked.name}/{i}"
            sequence = Sampled(
                asked.prompt,
                completion.ids,
                completion.logprobs,
                completion.weights_version,
                row_id,
                completion.routing,
            )
            reward = reward_of(kind, verdict, reply, truncated, seed, row_id)
            if row_id in extra:
                verdict = dataclasses.replace(verdict, parts={**verdict.parts, **extra[row_id]})
            if reward is not None and kind == "task":
                reward += sum(weight * verdict.parts.get(name, 0.0) for name, weight in weights.items())
            rollouts.append(Rollout(asked.problem, sequence, reply, verdict, reward))
        groups.append(Group(asked.problem, asked.suite, rollouts))
    return groups
