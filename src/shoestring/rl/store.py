"""What a step's samples are kept as: a row each, from which what the update was given can be made again."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from shoestring.engine.episode import passes
from shoestring.lm import LanguageModel
from shoestring.rl.advantage import Scale, group_advantages
from shoestring.rl.rollout import Group, Rollout
from shoestring.tasks.tools import CallMade

CALL = pa.struct(
    [("name", pa.string()), ("text", pa.string()), ("result", pa.string()), ("failed", pa.bool_())]
)
# rollouts/step-NNNNNN.parquet. logprobs are float32, as the loss reads them
SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("group", pa.string()),  # INDEX/PROBLEM: the stream's place and the problem's id; keys its samples
        ("row_id", pa.string()),  # GROUP/NUMBER
        ("problem", pa.string()),
        ("suite", pa.string()),
        ("prompt", pa.string()),  # the problem's text; what the model read around it is in prompt_ids
        ("prompt_ids", pa.list_(pa.int32())),
        ("ids", pa.list_(pa.int32())),  # as made, the end-of-turn id included
        ("completion", pa.string()),  # ids as text, special tokens as they are spelled
        ("reasoning", pa.string()),
        ("answer", pa.string()),
        ("outcome", pa.string()),
        ("value", pa.float64()),
        ("parts", pa.map_(pa.string(), pa.float64())),  # named rewards, the verdict's and the reward's
        ("reward", pa.float64()),  # null: left out of the loss
        ("advantage", pa.float64()),  # null: left out, or of a group without a difference
        ("logprobs", pa.list_(pa.float32())),  # the sampler's, of ids
        ("detail", pa.string()),
        ("cut", pa.bool_()),
        ("finish_reason", pa.string()),
        ("tokens", pa.int32()),  # that the model made
        ("trained", pa.list_(pa.bool_())),  # of ids: whether the model made it; null: all, it had no tools
        ("turns", pa.int32()),
        ("tool_calls", pa.list_(CALL)),  # in their order; null: it had no tools
        ("live", pa.bool_()),
        ("version", pa.int32()),  # the step whose weights made it
        ("seed", pa.int64()),  # with the group and the number it gives the same random numbers again
    ]
)


def rollout_rows(
    step: int, groups: Sequence[Group], lm: LanguageModel, scale: Scale, seed: int
) -> list[dict[str, Any]]:
    """Every sample of `groups` in their order, under SCHEMA."""
    return [
        _row(rollout, advantage, group, lm) | {"step": step, "seed": seed}
        for group in groups
        for rollout, advantage in zip(group.rollouts, advantages(group, scale), strict=True)
    ]


def advantages(group: Group, scale: Scale) -> list[float | None]:
    """Each sample's, as the update takes them; None for what it doesn't take."""
    if not group.live:
        return [None] * len(group.rollouts)
    given = iter(group_advantages(group.rewards, scale))
    return [None if r.reward is None else next(given) for r in group.rollouts]


def _row(rollout: Rollout, advantage: float | None, group: Group, lm: LanguageModel) -> dict[str, Any]:
    sequence, verdict = rollout.sequence, rollout.verdict
    return {
        "group": sequence.row_id.rpartition("/")[0],
        "row_id": sequence.row_id,
        "problem": rollout.problem.id,
        "suite": group.suite,
        "prompt": rollout.problem.prompt,
        "prompt_ids": sequence.prompt,
        "ids": sequence.ids,
        "completion": lm.tokenizer.decode(sequence.ids),
        "reasoning": rollout.reply.reasoning,
        "answer": rollout.reply.answer,
        "outcome": verdict.outcome.value,
        "value": verdict.value,
        "parts": {**verdict.parts, **rollout.parts},
        "reward": rollout.reward,
        "advantage": advantage,
        "logprobs": sequence.logprobs,
        "detail": verdict.detail,
        "cut": rollout.reply.cut,
        "finish_reason": sequence.finish_reason,
        "tokens": sequence.num_made,
        "trained": sequence.trained,
        "turns": len(passes(len(sequence.prompt), sequence.mask)),
        "tool_calls": None if sequence.calls is None else [_call(c) for c in sequence.calls],
        "live": group.live,
        "version": sequence.version,
    }


def _call(call: CallMade) -> dict[str, Any]:
    return {"name": call.name, "text": call.text, "result": call.result, "failed": call.failed}
