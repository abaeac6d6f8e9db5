"""From judged groups to the learner's micro-batches: a group's prompt stands once for all its samples."""

from collections.abc import Sequence

import numpy as np
import torch

from shoestring.rl.advantage import group_advantages
from shoestring.rl.loss import token_weights
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.rollout import Group, Rollout
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack, split_by_tokens
from shoestring.train.batch import MicroBatch


def make_batches(
    groups: Sequence[Group], settings: PolicyLossSettings, max_tokens: int, micro_batch_tokens: int
) -> list[MicroBatch]:
    """Only what the model made is a target; tools' results are read and never trained.

    Micro-batches of whole groups, or parts of a group that is larger than `micro_batch_tokens` (its
    prompt is then computed once for each part), never of a sample: a loss may look at whole sequences.
    Weights are of all these groups, the batch of one optimizer step, so the split changes nothing else."""
    chosen = [[r for r in g.rollouts if r.reward is not None] for g in groups]
    advantages = [group_advantages([_reward(r) for r in rollouts], settings.scale) for rollouts in chosen]
    lengths = [r.sequence.num_made for rollouts in chosen for r in rollouts]
    weights = iter(token_weights(lengths, settings.average, max_tokens))
    parts: list[list[tuple[Rollout, float, float]]] = []
    for rollouts, values in zip(chosen, advantages, strict=True):
        rows = [(r, a, next(weights)) for r, a in zip(rollouts, values, strict=True)]
        rows.sort(key=lambda row: len(row[0].sequence.ids))  # similar lengths side by side pad little
        parts += _split(rows, micro_batch_tokens)
    sizes = [_size(rows) for rows in parts]
    return [_micro_batch([parts[i] for i in b]) for b in split_by_tokens(sizes, micro_batch_tokens)]


def _size(rows: list[tuple[Rollout, float, float]]) -> int:
    return len(rows[0][0].sequence.prompt) + sum(len(r.sequence.ids) for r, _, _ in rows)


def _split(rows: list[tuple[Rollout, float, float]], limit: int) -> list[list[tuple[Rollout, float, float]]]:
    parts: list[list[tuple[Rollout, float, float]]] = [[]]
    for row in rows:
        if parts[-1] and _size([*parts[-1], row]) > limit:
            parts.append([])
        parts[-1].append(row)
    return parts


def _micro_batch(parts: list[list[tuple[Rollout, float, float]]]) -> MicroBatch:
    families, advantages, weights, logprobs = [], [], [], []
    for rows in parts:
        sequences = [r.sequence for r, _, _ in rows]
        rendered = [Rendered(s.ids, s.mask, s.row_id) for s in sequences]
        families.append(Family(sequences[0].prompt, rendered))
        for sequence, (_, advantage, weight) in zip(sequences, rows, strict=True):
            count = sequence.num_made
            advantages.append(np.full(count, advantage, dtype=np.float32))
            weights.append(np.full(count, weight, dtype=np.float32))
            logprobs.append(np.asarray(sequence.logprobs, dtype=np.float32)[np.asarray(sequence.mask)])
    columns = (torch.from_numpy(np.concatenate(c)) for c in (weights, advantages, logprobs))
    packed = pack(families)
    return MicroBatch(packed, *columns, routing=_routing(parts))


def _routing(parts: list[list[tuple[Rollout, float, float]]]) -> torch.Tensor | None:
    """(T, layers, K) in the order of `pack`: each family's prompt, then its samples; -1 for a sample's last
    token, which the sampler never read. None where it was not recorded."""
    laid: list[torch.Tensor] = []
    for rows in parts:
        recorded = [r.sequence.routing for r, _, _ in rows]
        if any(routing is None for routing in recorded):
            return None
        prompt = len(rows[0][0].sequence.prompt)
        laid += [routing[:prompt] for routing in recorded[:1] if routing is not None]
        for routing in recorded:
            assert routing is not None
            laid += [routing[prompt:], torch.full_like(routing[:1], -1)]
    return torch.cat(laid)


def _reward(rollout: Rollout) -> float:
    assert rollout.reward is not None
    return rollout.reward
