"""How far pretraining has come: bits per byte on held-out documents, and continuations to read."""

import time

import numpy as np
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.jobs.pretrain_data import HeldOut
from shoestring.jobs.pretrain_settings import PretrainSettings
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.text.message import PackedBatch
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss


def validate(
    learner: Learner, kept: list[HeldOut], settings: PretrainSettings, stage: Stage, step: int
) -> dict[str, float]:
    """Bits per byte on the held-out documents, over all and by source; continuations of some of them."""
    began = time.perf_counter()
    bits = {part.source: bits_of(learner, part.packed, settings.micro_batch_tokens) for part in kept}
    sizes = {part.source: part.num_bytes for part in kept}
    measured = {f"val_bpb/{source}": bits[source] / max(1, sizes[source]) for source in bits}
    measured["val_bpb"] = sum(bits.values()) / max(1, sum(sizes.values()))
    if settings.samples:
        measured |= write_samples(learner.lm, kept, settings, stage, step)
    stage.use("validate", time.perf_counter() - began, sum(len(p.packed.ids) for p in kept))
    return measured


@torch.no_grad()
def bits_of(learner: Learner, packed: PackedBatch, limit: int) -> float:
    """Summed -log2 p of every target, whole rows of at most `limit` tokens at a time."""
    total = 0.0
    for part in split_rows(packed, limit):
        weights = torch.ones(len(part.targets))
        _, logprobs = learner.forward(MicroBatch(part, weights), sft_loss)
        total -= logprobs.double().sum().item() / np.log(2)
    return total


def split_rows(packed: PackedBatch, limit: int) -> list[PackedBatch]:
    """The batch cut between rows, none of which has a parent."""
    cuts, filled = [0], 0
    for row, length in enumerate(packed.lengths.tolist()):
        if filled and filled + length > limit:
            cuts.append(row)
            filled = 0
        filled += length
    parts = []
    for first, last in zip(cuts, [*cuts[1:], len(packed.lengths)], strict=True):
        begin, end = packed.starts[first], packed.starts[last - 1] + packed.lengths[last - 1]
        inside = (packed.predict_from >= begin) & (packed.predict_from < end)
        parts.append(
            PackedBatch(
                packed.ids[begin:end],
                packed.positions[begin:end],
                packed.starts[first:last] - begin,
                packed.lengths[first:last],
                packed.parents[first:last],
                packed.predict_from[inside] - begin,
                packed.targets[inside],
                packed.owners[inside],
            )
        )
    return parts


def write_samples(
    lm: LanguageModel, kept: list[HeldOut], settings: PretrainSettings, stage: Stage, step: int
) -> dict[str, float]:
    """Greedy continuations of held-out documents' beginnings; how many of its own drafts the MTP module got
    right in them."""
    room = max(1, min(32, lm.config.max_position_embeddings - settings.sample_tokens))
    starts = [
        (part.source, part.packed.ids[start : start + min(room, length // 2)].tolist())
        for part in kept
        for start, length in zip(part.packed.starts.tolist(), part.packed.lengths.tolist(), strict=True)
        if length >= 2
    ][:: max(1, sum(len(p.packed.lengths) for p in kept) // settings.samples)][: settings.samples]
    engine = Engine(lm)
    params = SamplingParams(max_tokens=settings.sample_tokens, temperature=0.0)
    done = engine.generate([ids for _, ids in starts], params)
    rows = [
        {
            "row_id": f"{step}/{i}",
            "prompt": lm.tokenizer.decode(ids),
            "completion": lm.tokenizer.decode(made[0].ids),
            "outcome": source,
            "value": 0.0,
        }
        for i, ((source, ids), made) in enumerate(zip(starts, done, strict=True))
    ]
    stage.rollouts(step, rows)
    if engine.drafts is None:
        return {}
    return {
        "mtp_acceptance": engine.drafts.acceptance,
        "tokens_per_forward": engine.drafts.tokens_per_forward,
    }
