"""What a step's groups say, under TRL's metric names where it has one."""

from collections.abc import Sequence
from statistics import pstdev
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.rl.loss import TokenStats
from shoestring.rl.rollout import Group, Rollout, left_out
from shoestring.tasks.base import Outcome
from shoestring.train.learner import Metrics


def group_metrics(live: Sequence[Group], dead: Sequence[Group]) -> dict[str, float]:
    """reward and solve_rate are over every sample made, dropped groups too; solve_rate is the task's verdict
    whatever the reward was. What counts right, wrong and unparsed is over the samples that can be checked,
    and left out where there is none; open_ratio is the share of the others. reward_std is the mean of the
    groups' standard deviations."""
    groups = [*live, *dead]
    rollouts = [r for g in groups for r in g.rollouts]
    count = len(rollouts)
    rewards = [r.reward for r in rollouts if r.reward is not None]
    lengths = [len(r.sequence.ids) for r in rollouts]
    ended = [len(r.sequence.ids) for r in rollouts if not r.reply.cut]
    checkable = [r for r in rollouts if r.verdict.outcome is not Outcome.OPEN]
    dead_right = sum(bool(g.rewards) and min(g.rewards) > 0 and not is_open(g) for g in dead)
    found = {
        "reward": mean_reward(groups),
        "reward_std": sum(pstdev(g.rewards) for g in groups if g.rewards) / len(groups),
        "frac_reward_zero_std": len(dead) / len(groups),
        "groups/live": float(len(live)),
        "groups/dead_all_right": float(dead_right),
        "groups/dead_other": float(len(dead) - dead_right),
        "completions/mean_length": sum(lengths) / count,
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/mean_terminated_length": sum(ended) / max(1, len(ended)),
        "completions/clipped_ratio": 1 - len(ended) / count,
        "left_out": float(count - len(rewards)),
        "num_tokens": float(sum(lengths)),
    }
    if checkable:
        found |= _checked_metrics(checkable)
    if len(checkable) < count:
        found["open_ratio"] = 1 - len(checkable) / count
    return found


def _checked_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    right = [len(r.sequence.ids) for r in rollouts if r.verdict.outcome is Outcome.RIGHT]
    wrong = [len(r.sequence.ids) for r in rollouts if r.verdict.outcome is not Outcome.RIGHT]
    return {
        "solve_rate": len(right) / len(rollouts),
        "completions/mean_length_right": sum(right) / max(1, len(right)),
        "completions/mean_length_wrong": sum(wrong) / max(1, len(wrong)),
        "unparsed_ratio": sum(r.verdict.outcome is Outcome.UNPARSED for r in rollouts) / len(rollouts),
    }


def is_open(group: Group) -> bool:
    """Whether the problem has no right answer."""
    return any(r.verdict.outcome is Outcome.OPEN for r in group.rollouts)


def step_metrics(update: Metrics, stats: TokenStats) -> dict[str, float]:
    return {
        "loss": update.loss,
        "grad_norm": update.grad_norm,
        "learning_rate": update.learning_rate,
        "skipped_step": float(update.skipped),
        "entropy": stats.entropy,
        "kl": stats.kl,
        "mismatch_kl": stats.mismatch_kl,
        "mismatch_max": stats.mismatch_max,
        "clip_ratio/region_mean": stats.clip_low + stats.clip_high,
        "clip_ratio/low_mean": stats.clip_low,
        "clip_ratio/high_mean": stats.clip_high,
        "log_ratio_overflowed": float(stats.overflowed),
        "time/update": update.seconds,
    }


def wasted_tokens(live: Sequence[Group], dead: Sequence[Group]) -> dict[str, int]:
    """Tokens made for nothing, each counted once: all of the dropped groups', and cut replies' of the
    live."""
    cut = [r for g in live for r in g.rollouts if r.reply.cut]
    return {
        "dead_groups": sum(g.num_tokens for g in dead),
        "cut": sum(len(r.sequence.ids) for r in cut),
    }


def mean_reward(groups: Sequence[Group]) -> float:
    """Of all samples that have one; 0 where none has."""
    rewards = [reward for group in groups for reward in group.rewards]
    return sum(rewards) / len(rewards) if rewards else 0.0


def why_all_dead(dead: Sequence[Group]) -> str:
    """One line for the user: what the rollouts of groups without a difference were like, and what to
    change."""
    rollouts = [r for g in dead for r in g.rollouts if not is_open(g)]
    if not rollouts:
        return (
            f"all {len(dead)} groups were of open prompts and had equal rewards, so there is nothing to "
            "learn from: set preference, or its from_step earlier, or add a suite that can be checked"
        )
    right = sum(r.verdict.outcome is Outcome.RIGHT for r in rollouts) / len(rollouts)
    cut = sum(r.reply.cut for r in rollouts) / len(rollouts)
    unparsed = sum(r.verdict.outcome is Outcome.UNPARSED for r in rollouts) / len(rollouts)
    failed = sum(left_out(r.verdict) for r in rollouts) / len(rollouts)
    if right > 0.5:
        advice = "choose a harder level"
    elif cut > 0.5:
        advice = "raise max_completion_tokens"
    elif failed > 0.5:
        advice = "look at the scorer"
    else:
        advice = "choose an easier level, raise samples_per_prompt, or teach the answer's form first (sft)"
    return (
        f"all {len(dead)} groups had equal rewards, so there is nothing to learn from; {right:.0%} right, "
        f"{cut:.0%} truncated, {unparsed:.0%} without an answer that could be read, {failed:.0%} not scored: "
        f"{advice}"
    )


def rollout_rows(groups: Sequence[Group], lm: LanguageModel) -> list[dict[str, Any]]:
    """Every sample as it was, for the report and for reading."""
    return [_row(r, g, lm) for g in groups for r in g.rollouts]


def _row(rollout: Rollout, group: Group, lm: LanguageModel) -> dict[str, Any]:
    return {
        "row_id": rollout.sequence.row_id,
        "problem": rollout.problem.id,
        "suite": group.suite,
        "prompt": rollout.problem.prompt,
        "completion": lm.tokenizer.decode(rollout.sequence.ids),
        "outcome": rollout.verdict.outcome.value,
        "value": rollout.verdict.value,
        "reward": rollout.reward,
        "detail": rollout.verdict.detail,
        "cut": rollout.reply.cut,
        "tokens": len(rollout.sequence.ids),
        "live": group.live,
        "version": rollout.sequence.version,
    }
