"""What a step's groups say, under TRL's metric names where it has one."""

from collections.abc import Mapping, Sequence
from statistics import correlation, fmean, pstdev

from shoestring.rl.rollout import Group, Rollout, left_out
from shoestring.rl.tool_metrics import tool_metrics
from shoestring.rl.update import Updated
from shoestring.tasks.base import Outcome

MIXED = 0.9  # a reply with a smaller share of its words in one language mixes languages
EQUAL = 1e-9


def group_metrics(live: Sequence[Group], dead: Sequence[Group]) -> dict[str, float]:
    """reward and solve_rate are over every sample made, dropped groups too; solve_rate is the task's verdict
    whatever the reward was. What counts right, wrong and unparsed is over the samples that can be checked,
    and left out where there is none; open_ratio is the share of the others. gamed_ratio is the share of right
    samples that don't look worked out, reward_std the mean of the groups' standard deviations."""
    groups = [*live, *dead]
    rollouts = [r for g in groups for r in g.rollouts]
    count = len(rollouts)
    rewards = [r.reward for r in rollouts if r.reward is not None]
    lengths = [r.sequence.num_made for r in rollouts]
    ended = [r.sequence.num_made for r in rollouts if not r.reply.cut]
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
        **part_metrics(rollouts),
        **tool_metrics(rollouts),
    }
    if checkable:
        found |= _checked_metrics(checkable)
    if len(checkable) < count:
        found["open_ratio"] = 1 - len(checkable) / count
    return found


def _checked_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    right = [r.sequence.num_made for r in rollouts if r.verdict.outcome is Outcome.RIGHT]
    wrong = [r.sequence.num_made for r in rollouts if r.verdict.outcome is not Outcome.RIGHT]
    return {
        "solve_rate": len(right) / len(rollouts),
        "completions/mean_length_right": sum(right) / max(1, len(right)),
        "completions/mean_length_wrong": sum(wrong) / max(1, len(wrong)),
        "unparsed_ratio": sum(r.verdict.outcome is Outcome.UNPARSED for r in rollouts) / len(rollouts),
        "gamed_ratio": sum(r.gamed for r in rollouts) / max(1, len(right)),
        "verifier/disagreed": float(sum(r.parts.get("disagreed", 0.0) > 0 for r in rollouts)),
    }


def is_open(group: Group) -> bool:
    """Whether the problem has no right answer."""
    return any(r.verdict.outcome is Outcome.OPEN for r in group.rollouts)


def part_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Of each named part of the reward, unweighted, over the samples that have it: mean, standard deviation,
    and correlation with being right (absent where either is the same for all). language/mixed_ratio: the part
    of samples less than MIXED of whose words are in the wanted language."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for r in rollouts for name in r.parts):
        having = [r for r in rollouts if name in r.parts]
        values = [r.parts[name] for r in having]
        found[f"rewards/{name}/mean"] = sum(values) / len(values)
        found[f"rewards/{name}/std"] = pstdev(values)
        if len(having) < len(rollouts):
            found[f"rewards/{name}/missing"] = 1 - len(having) / len(rollouts)
        right = [float(r.verdict.outcome is Outcome.RIGHT) for r in having]
        if max(values) - min(values) > EQUAL and len(set(right)) == 2:
            found[f"rewards/{name}/corr"] = correlation(values, right)
        if name == "language":
            found["language/mixed_ratio"] = sum(value < MIXED for value in values) / len(values)
    return found


def step_metrics(updated: Updated) -> dict[str, float]:
    """loss and grad_norm are means over the step's updates; what the rest should do: docs/losses.md."""
    updates, stats = updated.metrics, updated.stats
    return {
        "loss": fmean(m.loss for m in updates),
        "grad_norm": fmean(m.grad_norm for m in updates),
        "learning_rate": updates[-1].learning_rate,
        "num_updates": float(len(updates)),
        "skipped_step": float(sum(m.skipped for m in updates)),
        "entropy": stats.entropy,
        "kl": stats.kl,
        "mismatch_kl": stats.mismatch_kl,
        "mismatch_max": stats.mismatch_max,
        "ratio/min": stats.ratio_min,
        "ratio/mean": stats.ratio_mean,
        "ratio/max": stats.ratio_max,
        "clip_ratio/region_mean": stats.clip_low + stats.clip_high,
        "clip_ratio/low_mean": stats.clip_low,
        "clip_ratio/high_mean": stats.clip_high,
        "log_ratio_overflowed": float(stats.overflowed),
        "corrected_ratio": stats.corrected,
        "sequences": float(stats.sequences),
        "sequences/zero_advantage": float(stats.zero_advantage),
        "oom_splits": float(sum(m.oom_splits for m in updates)),
        "time/update": updated.seconds,
    }


def time_shares(rows: Sequence[Mapping[str, float]]) -> str:
    """Where the logged steps' time went, in words."""
    total = sum(row["step_time"] for row in rows)
    names = {"generate": "generation", "judge": "reward", "update": "training", "weights": "weight hand-over"}
    sums = {name: sum(row.get(f"time/{key}", 0.0) for row in rows) for key, name in names.items()}
    rest = {"the rest": total - sum(sums.values())}
    shares = ", ".join(f"{name} {spent / max(total, 1e-9):.0%}" for name, spent in (sums | rest).items())
    return f"{len(rows)} steps, {total:.0f} s: {shares}"


def wasted_tokens(live: Sequence[Group], dead: Sequence[Group]) -> dict[str, int]:
    """Tokens made for nothing, each counted once: all of the dropped groups', and cut replies' of the
    live."""
    cut = [r for g in live for r in g.rollouts if r.reply.cut]
    return {
        "dead_groups": sum(g.num_tokens for g in dead),
        "cut": sum(r.sequence.num_made for r in cut),
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
