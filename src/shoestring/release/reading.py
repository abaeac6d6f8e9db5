"""What a reader makes of the proof's prompts, and how far two readers are apart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel
from shoestring.release.prompts import Questions

Likeliest = list[dict[int, float]]  # logprobs of the likeliest tokens at each place


@dataclass
class Reading:
    """tokens: made greedily, for each prompt. rows: for each prompt the logprobs at every place of the text
    that the *model* made, whole (T, V) or of the likeliest. faults: what else was wrong, in words."""

    reader: str
    precision: str
    tokens: list[list[int]]
    rows: list[Tensor] | list[Likeliest]
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """The first place where a prompt's greedy tokens differ. gap: between the model's two best logits
    there."""

    prompt: int
    place: int
    model: int
    reader: int
    gap: float


@dataclass(frozen=True)
class Apart:
    """kl: from the model's distribution to the reader's, in nats. flips: share of places where the likeliest
    token is another. logprob_error: the largest and mean difference of a token's logprob (of those told).
    choices and gaps: the reader's likeliest token at each place of the model's text, and its lead."""

    reader: str
    precision: str
    kl_over: str
    places: int
    differences: tuple[Difference, ...]
    kl_mean: float
    kl_max: float
    flips: float
    logprob_error_mean: float
    logprob_error_max: float
    faults: tuple[str, ...]
    choices: list[list[int]]
    gaps: list[list[float]]

    def worst_gap(self) -> float:
        """Of the model, where greedy tokens differ; 0 where none do."""
        return max((d.gap for d in self.differences), default=0.0)

    def to_json(self) -> dict[str, Any]:
        rounded = [[round(gap, 4) for gap in gaps] for gaps in self.gaps]
        return {**asdict(self), "gaps": rounded}


def read_with(lm: LanguageModel, asked: Questions, texts: Sequence[Sequence[int]] | None) -> Reading:
    """This package, with the model's weights as they are: the engine makes tokens, one pass over each text
    gives the rows. texts: what the model made; None: `lm` is the model."""
    prompts = [one.ids for one in asked.asked]
    params = SamplingParams(max_tokens=asked.tokens, temperature=0.0, ignore_eos=True)
    tokens = [samples[0].ids for samples in Engine(lm).generate(prompts, params)]
    pairs = zip(prompts, texts if texts is not None else tokens, strict=True)
    rows = [text_rows(lm, prompt, text) for prompt, text in pairs]
    return Reading("shoestring", str(lm.dtype).removeprefix("torch."), tokens, rows)


def read_texts(lm: LanguageModel, asked: Questions, texts: Sequence[Sequence[int]]) -> Reading:
    """The same without the engine, whose kernels for few rows read weights past the modules: one pass over
    each text. Greedy tokens are the text's as long as the likeliest ones are."""
    pairs = zip([one.ids for one in asked.asked], texts, strict=True)
    rows = [text_rows(lm, prompt, text) for prompt, text in pairs]
    tokens = [row.argmax(-1).tolist() for row in rows]
    return Reading("shoestring", str(lm.dtype).removeprefix("torch."), tokens, rows)


@torch.inference_mode()
def text_rows(lm: LanguageModel, prompt: Sequence[int], text: Sequence[int]) -> Tensor:
    """Logprobs (T, V) at each place of `text` after `prompt`."""
    ids = torch.tensor([[*prompt, *text[:-1]]], device=lm.device)
    hidden = lm.network(ids, torch.arange(ids.shape[1], device=lm.device)[None]).hidden
    return lm.network.head(hidden[0, len(prompt) - 1 :]).log_softmax(-1).cpu()


def apart(model: Reading, other: Reading) -> Apart:
    """`model`'s rows are whole."""
    kls, errors, choices, gaps = [], [], [], []
    flips = places = 0
    worst = 0.0
    for ours, theirs in zip(model.rows, other.rows, strict=True):
        assert isinstance(ours, Tensor)
        if isinstance(theirs, Tensor):
            kl = (ours.exp() * (ours - theirs)).sum(-1).clamp_min(0)
            difference = (ours - theirs).abs()
            best = theirs.topk(2, dim=-1)
            chosen, lead = best.indices[:, 0].tolist(), (best.values[:, 0] - best.values[:, 1]).tolist()
            error, largest = difference.mean(-1).tolist(), float(difference.max())
        else:
            kl = torch.tensor([_partial_kl(row, told) for row, told in zip(ours, theirs, strict=True)])
            chosen = [max(told, key=lambda token, told=told: told[token]) for told in theirs]
            lead = [_lead(told) for told in theirs]
            parts = [
                [abs(float(row[t]) - p) for t, p in told.items()]
                for row, told in zip(ours, theirs, strict=True)
            ]
            error, largest = [sum(p) / len(p) for p in parts], max(max(p) for p in parts)
        flips += sum(a != b for a, b in zip(ours.argmax(-1).tolist(), chosen, strict=True))
        places += len(chosen)
        kls += kl.tolist()
        errors += error
        worst = max(worst, largest)
        choices.append(chosen)
        gaps.append(lead)
    whole = isinstance(other.rows[0], Tensor)
    return Apart(
        other.reader,
        other.precision,
        "the whole vocabulary" if whole else "the likeliest tokens that it tells, and all others as one",
        places,
        tuple(_differences(model, other)),
        sum(kls) / places,
        max(kls),
        flips / places,
        sum(errors) / places,
        worst,
        tuple(other.faults),
        choices,
        gaps,
    )


def _partial_kl(row: Tensor, told: dict[int, float]) -> float:
    """Of the told tokens and one that stands for all others: at most the whole one."""
    ids = list(told)
    p, logq = row[ids].double(), torch.tensor([told[i] for i in ids], dtype=torch.float64)
    rest_p, rest_q = (1 - p.exp().sum()).clamp_min(1e-12), (1 - logq.exp().sum()).clamp_min(1e-12)
    return max(float((p.exp() * (p - logq)).sum() + rest_p * (rest_p / rest_q).log()), 0.0)


def _lead(told: dict[int, float]) -> float:
    first, second = sorted(told.values(), reverse=True)[:2]
    return first - second


def _differences(model: Reading, other: Reading) -> list[Difference]:
    found = []
    for prompt, (ours, theirs) in enumerate(zip(model.tokens, other.tokens, strict=True)):
        pairs = enumerate(zip(ours, theirs, strict=False))  # a reader may stop where a turn ends
        place = next((i for i, (a, b) in pairs if a != b), None)
        if place is not None:
            row = model.rows[prompt]
            assert isinstance(row, Tensor)
            best = row[place].topk(2).values
            gap = float(best[0] - best[1])
            found.append(Difference(prompt, place, ours[place], theirs[place], gap))
    return found
