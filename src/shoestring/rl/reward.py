"""From verdicts to rewards, and the controls that any claim of learning is held against.

reward = task + sum of weight * part. A control takes the task's place and nothing else: its parts are the
same, and their gates open where the control pays the full mark, so that no truth leaks into it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shoestring.engine.episode import Episode, num_made
from shoestring.engine.request import Completion
from shoestring.ops.sample import stream_key, uniforms
from shoestring.rl.reward_settings import TAKEN, RewardKind, ShapeSettings
from shoestring.rl.rollout import Asked, Group, Rollout, left_out, sequence_of
from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.language import PROMPT, detect
from shoestring.tasks.shape import (
    format_score,
    language_consistency,
    length_penalty,
    looks_gamed,
    repetition_score,
)
from shoestring.text.message import Reply
from shoestring.text.template import Template

Judged = Sequence[tuple[Asked, list[tuple[Completion, Reply, Verdict]]]]
Extra = Mapping[str, Mapping[str, float]]  # part -> row id -> value
FULL_MARK = 1.0
NO_EXTRA: Extra = {}
NO_SHAPE = ShapeSettings()


@dataclass(frozen=True)
class Said:
    """One completion as its shape is measured: `text` with its tags, `opened` where the prompt had opened the
    thinking; `asked_in` is the problem's language."""

    text: str
    opened: bool
    reply: Reply
    num_tokens: int
    asked_in: str = ""


@dataclass(frozen=True)
class Reward:
    """How a run pays. max_tokens is its cap on a completion."""

    kind: RewardKind = "task"
    truncated: str = "wrong"
    seed: int = 0
    shape: ShapeSettings = NO_SHAPE
    max_tokens: int = 0

    def pay(
        self,
        row_id: str,
        said: Said,
        verdict: Verdict,
        shuffled: Verdict | None = None,
        named: Mapping[str, float] | None = None,
    ) -> tuple[float | None, dict[str, float]]:
        """The reward, None where the sample is left out, and what it is made of, unweighted. `shuffled` is
        the verdict by another problem's answer, `named` what was computed elsewhere."""
        truth = reward_of("task", verdict, said.reply, self.truncated, self.seed, row_id)
        base = truth
        parts = {**verdict.parts, **(named or {}), **shape_parts(self.shape, said, self.max_tokens)}
        for name in TAKEN:  # a scorer's own part of such a name would hide what is paid
            parts.pop(name, None)
        if self.kind != "task":
            judged = verdict if self.kind != "shuffled" or shuffled is None or left_out(verdict) else shuffled
            base = reward_of(self.kind, judged, said.reply, self.truncated, self.seed, row_id)
            parts |= {} if base is None else {"control": base}
        parts |= {} if truth is None else {"task": truth}
        if base is None:
            return None, parts
        open_ = base >= FULL_MARK
        paid = [
            part.weight * parts.get(name, 0.0)
            for name, part in self.shape.paid().items()
            if open_ or part.gate == "none"
        ]
        return base + sum(paid), parts


def reward_of(
    kind: RewardKind, verdict: Verdict, reply: Reply, truncated: str, seed: int, row_id: str
) -> float | None:
    """task, shuffled: the verdict's value. format: 1 when the reply ended by itself and held an answer, right
    or not. random: a fair coin keyed on the sample. None leaves the sample out of the loss."""
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


def shape_parts(shape: ShapeSettings, said: Said, max_tokens: int) -> dict[str, float]:
    """Those parts that the run pays or measures."""
    reply, wanted = said.reply, shape.wanted()
    parts: dict[str, float] = {}
    if "format" in wanted:
        parts["format"] = format_score(said.text, said.opened, reply.cut)
    if "language" in wanted:
        # without thinking there is only the answer; an empty one that was opened stays empty
        thought = said.opened or said.text.lstrip().startswith("<think>")
        text = (reply.reasoning or "") if thought else reply.answer
        parts["language"] = language_consistency(text, _target(shape.language.target, said))
    if "language_answer" in wanted:
        target = _target(shape.language_answer.target, said)
        parts["language_answer"] = language_consistency(reply.answer, target)
    if "length" in wanted:
        cache = min(max_tokens, shape.length.cache or max(1, max_tokens // 5))
        parts["length"] = length_penalty(said.num_tokens, max_tokens, cache)
    if "repetition" in wanted:
        parts["repetition"] = repetition_score(said.text)
    return parts


def said_of(template: Template, completion: Completion, reply: Reply, asked_in: str) -> Said:
    """Of an episode the last turn; its tokens are those of all turns."""
    if isinstance(completion, Episode):
        return Said(completion.text, completion.opened, reply, num_made(completion), asked_in)
    return Said(template.text(completion.ids), template.opens_thinking, reply, len(completion.ids), asked_in)


def _target(target: str, said: Said) -> str:
    return said.asked_in if target == PROMPT else target


def make_groups(
    judged: Judged,
    reward: Reward,
    template: Template,
    shuffled: Mapping[str, Verdict] | None = None,
    extra: Extra = NO_EXTRA,
) -> list[Group]:
    """`shuffled` has a verdict for each row id where the reward is of that kind (`rl/shuffle.py`). `extra`
    are parts that were computed elsewhere, in batch: {"preference": {row id: value}}."""
    groups = []
    speaks = {"language", "language_answer"} & set(reward.shape.wanted())
    for asked, samples in judged:
        asked_in = detect(asked.problem.prompt) if speaks else ""
        rollouts = []
        for i, (completion, reply, verdict) in enumerate(samples):
            row_id = f"{asked.name}/{i}"
            said = said_of(template, completion, reply, asked_in)
            sequence = sequence_of(asked.prompt, completion, row_id)
            named = {name: rows[row_id] for name, rows in extra.items() if row_id in rows}
            other = shuffled[row_id] if shuffled is not None else None
            paid, parts = reward.pay(row_id, said, verdict, other, named)
            gamed = verdict.outcome is Outcome.RIGHT and looks_gamed(said.text, said.opened, reply)
            rollouts.append(Rollout(asked.problem, sequence, reply, verdict, paid, parts, gamed))
        groups.append(Group(asked.problem, asked.suite, rollouts))
    return groups
