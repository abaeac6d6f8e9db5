"""How far pretraining has come: bits per byte on held-out documents, and continuations to read."""

import time

import numpy as np
import torch

from shoestring.budget.flops import causal_pairs, forward_flops
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.jobs.pretrain_data import HeldOut
from shoestring.jobs.pretrain_settings import PretrainSettings
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.text.packing import pack_documents, split_by_tokens
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss


def validate(
    learner: Learner, kept: list[HeldOut], settings: PretrainSettings, stage: Stage, step: int
) -> dict[str, float]:
    """Bits per byte on the held-out documents, over all and by source, and continuations of some of them;
    nothing of these where none is held out."""
    began = time.perf_counter()
    bits = {part.source: bits_of(learner, part.texts, settings.micro_batch_tokens) for part in kept}
    sizes = {part.source: part.num_bytes for part in kept}
    measured = {f"val_bpb/{source}": bits[source] / max(1, sizes[source]) for source in bits}
    if kept:
        measured["val_bpb"] = sum(bits.values()) / max(1, sum(sizes.values()))
    if kept and settings.samples:
        measured |= write_samples(learner.lm, kept, settings, stage, step)
    read = [len(ids) for part in kept for ids in part.texts]
    flops = sum(forward_flops(learner.lm.config, count, causal_pairs(count), count - 1) for count in read)
    stage.use("validate", time.perf_counter() - began, sum(read), flops)
    return measured


@torch.no_grad()
def bits_of(learner: Learner, texts: list[list[int]], limit: int) -> float:
    """Summed -log2 p of every token but each text's first, at most `limit` tokens at a time."""
    total = 0.0
    for group in split_by_tokens([len(ids) for ids in texts], limit):
        packed = pack_documents([[texts[i]] for i in group], document_mask=True)
        weights = torch.ones(len(packed.targets))
        _, logprobs = learner.forward(MicroBatch(packed, weights), sft_loss)
        total -= logprobs.double().sum().item() / np.log(2)
    return total


def write_samples(
    lm: LanguageModel, kept: list[HeldOut], settings: PretrainSettings, stage: Stage, step: int
) -> dict[str, float]:
    """Greedy continuations of held-out documents' beginnings; how many of its own drafts the MTP module got
    right in them."""
    room = max(1, min(32, lm.config.max_position_embeddings - settings.sample_tokens))
    begun = [(part.source, ids[: min(room, len(ids) // 2)]) for part in kept for ids in part.texts]
    starts = begun[:: max(1, len(begun) // settings.samples)][: settings.samples]
    engine = Engine(lm, draft_tokens=1)
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
