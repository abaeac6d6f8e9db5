"""What a step's samples did with their tools, and what generating them took."""

from collections.abc import Sequence

from shoestring.engine.episode import passes
from shoestring.rl.rollout import Group, Rollout


def tool_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Over the samples that had tools; empty where none had. used_ratio: the share of samples with a call.
    error_ratio: of calls, those that couldn't be read or run, or failed. NAME/calls: those of a tool that
    worked, of all samples. tokens: of results. time/tools: of all calls, some of which ran side by side."""
    having = [r.sequence.calls for r in rollouts if r.sequence.calls is not None]
    if not having:
        return {}
    made = [call for calls in having for call in calls]
    found = {
        "tools/calls_mean": len(made) / len(having),
        "tools/used_ratio": sum(bool(calls) for calls in having) / len(having),
        "tools/error_ratio": sum(call.failed for call in made) / max(1, len(made)),
        "tools/tokens": float(sum(len(r.sequence.ids) - r.sequence.num_made for r in rollouts)),
        "time/tools": sum(call.seconds for call in made),
    }
    for name in sorted({call.name for call in made if not call.failed}):
        found[f"tools/{name}/calls"] = float(sum(call.name == name for call in made))
    return found


def decoded(group: Group) -> list[tuple[int, list[int]]]:
    """(context read, tokens made by each that read it): the prompt once for all first turns, and each later
    turn with all before it, which is read again."""
    turns = [passes(len(r.sequence.prompt), r.sequence.mask) for r in group.rollouts]
    first = (turns[0][0][0], [own[0][1] for own in turns])
    return [first, *((context, [made]) for own in turns for context, made in own[1:])]
