"""Which token comes next: plain requests as ever, everything else against a plain reference."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from shoestring.engine import logprobs as logprobs_module
from shoestring.engine.adjust import TokenCounts, adjust_
from shoestring.engine.engine import Engine
from shoestring.engine.logprobs import likeliest
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.engine.sampler import Sampler
from shoestring.engine.sequence import Request, Sequence
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.ops.sample import sample_plain, stream_key, uniforms
from tiny import tiny_lm
from tiny_v3 import tiny_v3

PROMPT = [5, 9, 200, 31, 7, 9, 9]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm()


def running(params: SamplingParams, key: str, made: list[int] | None = None) -> Sequence:
    """One sample that has made so much."""
    sequence = Sequence(Request(1, PROMPT, params, key, frozenset(), 99), 0, stream_key(params.seed, key, 0))
    for token in made or []:
        sequence.ids.append(token)
        if sequence.counts is not None:
            sequence.counts.take(token)
    return sequence


def hidden_of(lm: LanguageModel, rows: int) -> torch.Tensor:
    return torch.randn(rows, lm.config.hidden_size, generator=torch.Generator().manual_seed(3)) * 0.4


def wanted_of(params: list[SamplingParams]) -> list[tuple[Sequence, int]]:
    return [(running(p, f"k{row}"), row % 5) for row, p in enumerate(params)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@torch.no_grad()
def test_plain_requests_are_drawn_as_without_a_sampler_whatever_their_neighbours(temperature, dtype):
    """Bit for bit what the network draws by their own numbers."""
    lm = tiny_lm()
    lm.network.to(dtype)
    hidden, plain = hidden_of(lm, 12).to(dtype), SamplingParams(temperature=temperature, seed=3)
    keys = np.array([stream_key(3, f"k{row}", 0) for row in range(12)], dtype=np.uint64)
    draws = torch.from_numpy(uniforms(keys, np.arange(12) % 5))
    ids, logprobs = lm.network.draw(hidden, draws, temperature)
    wanted = list(zip(ids.tolist(), logprobs.tolist(), strict=True))
    drawn = Sampler(lm.network).draw(hidden, wanted_of([plain] * 12))
    assert [(t.id, t.logprob) for t in drawn] == wanted
    asked = [dataclasses.replace(plain, top_logprobs=4)] * 12  # asking for more changes nothing
    drawn = Sampler(lm.network).draw(hidden, wanted_of(asked))
    assert [(t.id, t.logprob) for t in drawn] == wanted
    others = [plain, dataclasses.replace(plain, top_p=0.5), SamplingParams(temperature=0.3, min_p=0.1)] * 4
    drawn = Sampler(lm.network).draw(hidden, wanted_of(others))
    alone = [(t.id, t.logprob) for t in drawn[::3]]
    ids, logprobs = lm.network.draw(hidden[::3], draws[::3], temperature)
    assert alone == list(zip(ids.tolist(), logprobs.tolist(), strict=True))
    assert [i for i, _ in alone] == [i for i, _ in wanted[::3]]


def reference(logits: torch.Tensor, params: SamplingParams, made: list[int]) -> torch.Tensor:
    """The logits of one row as they are drawn from, one token after the other."""
    x = logits.double().tolist()
    for token, bias in params.logit_bias:
        x[token] += bias
    seen = {*PROMPT, *made}
    for token in range(len(x)):
        if token in seen:
            x[token] = (
                x[token] / params.repetition_penalty if x[token] > 0 else x[token] * params.repetition_penalty
            )
        x[token] -= params.frequency_penalty * made.count(token)
        x[token] -= params.presence_penalty * (token in made)
    t = params.temperature or 1.0
    x = [v / t for v in x]
    top = max(x)
    x = [v if not params.min_p or v >= top + math.log(params.min_p) else -math.inf for v in x]
    order = sorted(range(len(x)), key=lambda i: (-x[i], i))
    if params.top_k:
        x = [v if v >= x[order[min(params.top_k, len(x)) - 1]] else -math.inf for v in x]
    if params.top_p < 1:
        weights = [math.exp(v - top) for v in x]
        before = 0.0
        for i in order:
            if before >= params.top_p * sum(weights):
                x[i] = -math.inf
            before += weights[i]
    return torch.tensor(x)


ASKED: list[dict[str, Any]] = [
    {"presence_penalty": 1.5},
    {"frequency_penalty": -0.8},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7, "frequency_penalty": 2.0, "presence_penalty": -1.0},
    {"logit_bias": ((7, 3.0), (9, -100.0), (7, 1.5))},
    {"logit_bias": ((9, 2.0), (50, 4.0)), "repetition_penalty": 1.8},  # the bias first
    {"min_p": 0.1},
    {"top_k": 5, "top_p": 0.9, "min_p": 0.05, "frequency_penalty": 0.4},
    {"top_p": 0.6, "logit_bias": ((31, 5.0),)},
    {},
]


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
@torch.no_grad()
def test_every_kind_together_equals_the_reference(lm, temperature):
    rows = 3 * len(ASKED)
    params = [
        SamplingParams(temperature=temperature, top_logprobs=6, **ASKED[r % len(ASKED)]) for r in range(rows)
    ]
    made = [[7, 9, 7, 100 + r, 31][: r % 6] for r in range(rows)]
    sequences = [running(p, f"k{r}", m) for r, (p, m) in enumerate(zip(params, made, strict=True))]
    hidden = hidden_of(lm, rows)
    drawn = Sampler(lm.network).draw(hidden, [(s, len(s.ids)) for s in sequences])
    logits = lm.network.head(hidden)
    for row, token in enumerate(drawn):
        x = reference(logits[row], params[row], made[row])
        draw = torch.from_numpy(
            uniforms(np.array([sequences[row].key], np.uint64), np.array([len(made[row])]))
        )
        ids, logprobs = sample_plain(x[None], draw, 1.0 if temperature else 0.0)
        assert token.id == ids.item()
        assert token.logprob == pytest.approx(logprobs.item(), abs=1e-4)
        assert token.top is not None
        best = x.log_softmax(-1).topk(6).values
        assert list(token.top.values()) == pytest.approx(best[best > -math.inf].tolist(), abs=1e-4)
        assert all(x[i] > -math.inf for i in token.top)


def test_counts_are_of_made_tokens_and_the_prompt_is_only_repeated():
    both = TokenCounts(SamplingParams(repetition_penalty=1.1), [5, 9, 9])
    own = TokenCounts(SamplingParams(presence_penalty=1.0), [5, 9, 9])
    for counts in (both, own):
        for token in (9, 4, 4):
            counts.take(token)
    assert {int(t): int(n) for t, n in zip(*both.arrays(), strict=True)} == {5: 0, 9: 1, 4: 2}
    assert {int(t): int(n) for t, n in zip(*own.arrays(), strict=True)} == {9: 1, 4: 2}


def test_only_the_entries_concerned_change():
    logits = torch.randn(2, 50)
    before = logits.clone()
    asked = SamplingParams(frequency_penalty=1.0)
    counts = TokenCounts(asked, [])
    counts.take(3)
    adjust_(logits, [(asked, counts), (SamplingParams(), None)])
    assert (logits != before).nonzero().tolist() == [[0, 3]]


def test_penalties_and_biases_in_the_engine(lm):
    greedy = SamplingParams(max_tokens=30, temperature=0.0, ignore_eos=True)
    prompts = [PROMPT, [3], list(range(60, 90))]

    def made(**asked: Any) -> list[list[int]]:
        params = dataclasses.replace(greedy, **asked)
        together = [c.ids for (c,) in Engine(lm).generate(prompts, params)]
        assert [Engine(lm).generate([p], params)[0][0].ids for p in prompts] == together
        return together

    for ids in made(logit_bias=((77, 1000.0),)):
        assert ids == [77] * 30
    for ids in made(logit_bias=((77, 20.0),), presence_penalty=2.0, frequency_penalty=2.0):
        assert 1 < ids.count(77) < 30  # each time costs more, until others are likelier
    for ids, prompt in zip(made(repetition_penalty=1e6), prompts, strict=True):
        likely = [i for i in ids if i not in prompt]
        assert len(set(likely)) == len(likely)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("model", [tiny_lm, tiny_v3])
def test_top_logprobs_are_the_models(model, temperature):
    lm = model()
    params = SamplingParams(max_tokens=6, temperature=temperature, n=2, top_logprobs=5, ignore_eos=True)
    plain = Engine(lm).generate([PROMPT, [3]], dataclasses.replace(params, top_logprobs=0))
    for prompt, samples, others in zip(
        [PROMPT, [3]], Engine(lm).generate([PROMPT, [3]], params), plain, strict=True
    ):
        assert [c.ids for c in samples] == [c.ids for c in others]
        assert [c.logprobs for c in samples] == [c.logprobs for c in others]
        assert [c.top_logprobs for c in others] == [[], []]
        for completion in samples:
            logits = lm.logits([prompt + completion.ids])[0, len(prompt) - 1 : -1]
            best = (logits / (temperature or 1.0)).log_softmax(-1).topk(5)
            assert [list(top) for top in completion.top_logprobs] == best.indices.tolist()
            for top, values in zip(completion.top_logprobs, best.values.tolist(), strict=True):
                assert list(top.values()) == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize("vocab", [7, 300, 5000, 5120])
def test_the_likeliest_of_a_large_vocabulary(vocab):
    logits = torch.randn(6, vocab, generator=torch.Generator().manual_seed(1)) * 3
    logits[2, 4:] = -math.inf
    counts = [5, 0, 5, 1, 3, 5]
    found = likeliest(logits, counts)
    wanted = logits.log_softmax(-1).topk(5)
    for row, count in enumerate(counts):
        count = min(count, 4) if row == 2 else count
        assert list(found[row]) == wanted.indices[row, :count].tolist()
        assert list(found[row].values()) == pytest.approx(wanted.values[row, :count].tolist(), abs=1e-5)


LONG = [[*range(60, 100), 100 + i, 7 * i] for i in range(3)]  # a common beginning that is read once


@pytest.mark.parametrize("model", [tiny_lm, tiny_v3])
@pytest.mark.parametrize("top", [0, 3])
@pytest.mark.parametrize("prompts", [[PROMPT, [3], [4, 5]], LONG])
def test_prompt_logprobs_are_the_models(model, top, prompts, monkeypatch):
    lm = model()
    monkeypatch.setattr(logprobs_module, "LOGITS_AT_ONCE", 5 * lm.config.vocab_size)  # five rows at a time
    params = SamplingParams(max_tokens=2, temperature=0.5, n=3, prompt_logprobs=top, ignore_eos=True)
    for prompt, samples in zip(prompts, Engine(lm, max_batch=4).generate(prompts, params), strict=True):
        found = samples[0].prompt_logprobs
        assert found is not None
        assert all(c.prompt_logprobs == found for c in samples)
        assert (len(found), found[0]) == (len(prompt), {})
        raw = lm.logits([prompt])[0].log_softmax(-1)
        for place, pairs in enumerate(found[1:], start=1):
            best = raw[place - 1].topk(top).indices.tolist()
            assert list(pairs) == [prompt[place], *(i for i in best if i != prompt[place])]
            assert list(pairs.values()) == pytest.approx(raw[place - 1][list(pairs)].tolist(), abs=1e-4)
    assert Engine(lm).generate([PROMPT], SamplingParams(max_tokens=1))[0][0].prompt_logprobs is None


@pytest.mark.parametrize(
    "asked", [{"frequency_penalty": 1.0}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_logprobs": 2}]
)
def test_drafts_change_nothing(asked):
    lm = tiny_v3()
    params = SamplingParams(max_tokens=20, temperature=0.9, n=2, ignore_eos=True, **asked)
    prompts = [PROMPT, [3]]
    plain = Engine(lm, draft_tokens=0).generate(prompts, params)
    engine = Engine(lm, draft_tokens=2)
    made = engine.generate(prompts, params)
    assert [[c.ids for c in group] for group in made] == [[c.ids for c in group] for group in plain]
    assert engine.drafts is not None
    assert (engine.drafts.steps > 0) is ("frequency_penalty" not in asked)
    mixed = [engine.submit(PROMPT, p) for p in (params, SamplingParams(20, 0.0, ignore_eos=True))]
    done = dict(engine.completed())
    assert [c.ids for c in done[mixed[0]]] == [c.ids for c in engine.generate([PROMPT], params, [""])[0]]
    assert engine.drafts.steps > 0  # the one beside it is drafted


@pytest.mark.parametrize(
    ("params", "meaning"),
    [
        (SamplingParams(), "raw"),
        (SamplingParams(temperature=0.0, top_logprobs=3), "raw"),
        (SamplingParams(temperature=0.5), "tempered"),
        (SamplingParams(temperature=0.5, presence_penalty=0.1), "adjusted"),
        (SamplingParams(logit_bias=((1, 1.0),)), "adjusted"),
        (SamplingParams(repetition_penalty=1.1, min_p=0.1), "truncated"),
        (SamplingParams(top_k=3), "truncated"),
    ],
)
def test_what_logprobs_mean(params, meaning):
    assert params.logprob_meaning == meaning


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_p", 1.5),
        ("min_p", -0.1),
        ("presence_penalty", 2.5),
        ("frequency_penalty", math.nan),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e-40),
        ("temperature", math.nan),
        ("top_logprobs", -1),
        ("prompt_logprobs", -1),
        ("logit_bias", ((-1, 1.0),)),
        ("logit_bias", ((1, math.inf),)),
    ],
)
def test_params_that_mean_nothing_are_refused(name, value):
    with pytest.raises(BadInput, match=name):
        SamplingParams(**{name: value})


def test_a_temperature_that_no_number_can_be_divided_by_is_greedy(lm):
    for temperature in (5e-324, 1e-39, 9e-6):
        assert SamplingParams(temperature=temperature).temperature == 0
    assert SamplingParams(temperature=1e-5).temperature == 1e-5
    asked = [SamplingParams(max_tokens=5, temperature=t, top_p=0.95) for t in (0.0, 1e-39, 1e-5)]
    assert len({tuple(Engine(lm).generate([PROMPT], p)[0][0].ids) for p in asked}) == 1


def test_a_request_whose_own_numbers_break_fails_alone(lm):
    """Its biases add up to infinity; the model and who runs beside it are sound. Who steps the engine goes on
    with the others; who wants all of what it asked for is told."""
    broken = SamplingParams(max_tokens=4, logit_bias=((7, 3e38), (7, 3e38)))
    engine = Engine(lm)
    poisoned, sound = engine.submit(PROMPT, broken), engine.submit(PROMPT, SamplingParams(4, ignore_eos=True))
    while not engine.idle:
        engine.step()
    done = dict(engine.take_finished())
    assert len(done[sound][0].ids) == 4
    (made,) = done[poisoned]
    assert (made.ids, made.finish_reason) == ([], FinishReason.ABORT)
    assert "no number" in made.stopped_by
    with pytest.raises(ShoestringError, match="after one of the prompts"):
        Engine(lm).generate([PROMPT, PROMPT], broken)
    engine.submit(PROMPT, broken)
    with pytest.raises(ShoestringError, match="after one of the prompts"):
        list(engine.completed())


def test_a_bias_on_what_is_no_token_is_refused(lm):
    last = lm.config.vocab_size - 1
    with pytest.raises(BadInput, match=f"logit_bias: token {last + 1}, and the model's ids end at {last}"):
        Engine(lm).submit(PROMPT, SamplingParams(logit_bias=((last + 1, 1.0),)))
    Engine(lm).submit(PROMPT, SamplingParams(logit_bias=((last, 1.0),)))
