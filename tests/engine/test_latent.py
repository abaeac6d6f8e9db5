"""Latent attention in the engine: absorbed decode against the full forward; drafts change nothing."""

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel
from tiny_v3 import tiny_v3

PROMPTS = [[5, 9, 200, 31, 7], [5, 9, 200, 31, 8, 77, 1], list(range(40, 75)), [3]]
LONG = [[*range(60, 90), 100 + i, 7 * i] for i in range(3)]  # a common beginning that is kept once


@torch.no_grad()
def greedy(lm: LanguageModel, prompt: list[int], tokens: int) -> list[int]:
    """By whole forward passes, nothing kept."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(lm.logits([ids])[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("draft_tokens", [0, 1, 3])
@pytest.mark.parametrize("prompts", [PROMPTS, LONG])
def test_cached_decode_equals_the_full_forward(draft_tokens: int, prompts: list[list[int]]) -> None:
    lm = tiny_v3()
    params = SamplingParams(max_tokens=24, temperature=0.0, ignore_eos=True)
    made = Engine(lm, draft_tokens=draft_tokens).generate(prompts, params)
    for prompt, (completion,) in zip(prompts, made, strict=True):
        assert completion.ids == greedy(lm, prompt, 24)


@pytest.mark.parametrize("draft_tokens", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_drafts_change_no_token_and_no_logprob(temperature: float, draft_tokens: int) -> None:
    lm = tiny_v3()
    params = SamplingParams(max_tokens=30, temperature=temperature, n=3, seed=4)
    plain = Engine(lm, max_batch=8, draft_tokens=0).generate(PROMPTS, params)
    engine = Engine(lm, max_batch=8, draft_tokens=draft_tokens)
    drafted = engine.generate(PROMPTS, params)
    assert engine.drafts is not None
    assert engine.drafts.steps > 0
    for one, other in zip(plain, drafted, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.ids == b.ids
            assert a.finish_reason == b.finish_reason
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@pytest.mark.parametrize("draft_tokens", [1, 2])
def test_drafts_are_counted(draft_tokens: int) -> None:
    """Whether a draft is right is not known here: the count is held to its definition."""
    lm = tiny_v3()
    engine = Engine(lm, draft_tokens=draft_tokens)
    params = SamplingParams(max_tokens=40, temperature=0.0, ignore_eos=True)
    made = engine.generate(PROMPTS, params)
    count = engine.drafts
    assert count is not None
    assert count.tokens == sum(len(c.ids) - 1 for (c,) in made)  # the first comes from the prompt
    past = len(PROMPTS)  # a right draft at the end of a sequence brings no token more
    assert count.steps + count.accepted - past <= count.tokens <= count.steps + count.accepted
    assert draft_tokens * (count.steps - past) < count.drafted <= draft_tokens * count.steps
    assert 0 <= count.acceptance <= 1
    assert count.tokens_per_forward == count.tokens / count.steps


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("draft_tokens", "max_tokens"), [(1, 25), (3, 25), (1, 2), (1, 4), (3, 4), (3, 7)])
def test_right_drafts_are_all_kept(draft_tokens: int, max_tokens: int, temperature: float) -> None:
    """With a head of zeros every token is as likely as any, for module and model alike: a draft, drawn with
    the sampler's own number, is always right, and counts as such where the sequence ends at it too."""
    lm = tiny_v3()
    with torch.no_grad():
        lm.network.head_weight.zero_()
    params = SamplingParams(max_tokens=max_tokens, temperature=temperature, n=2, ignore_eos=True)
    plain = Engine(lm, draft_tokens=0).generate(PROMPTS, params)
    engine = Engine(lm, draft_tokens=draft_tokens)
    made = engine.generate(PROMPTS, params)
    assert [[c.ids for c in group] for group in made] == [[c.ids for c in group] for group in plain]
    count = engine.drafts
    assert count is not None
    assert count.acceptance == 1
    assert count.steps == 2 * len(PROMPTS) * -(-(max_tokens - 1) // (1 + draft_tokens))


def test_who_joins_half_way_is_drafted_too() -> None:
    lm = tiny_v3()
    params = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
    assert Engine(lm).drafts is None  # by itself it doesn't
    engine = Engine(lm, draft_tokens=1)
    count = engine.drafts
    assert count is not None
    numbers = {engine.submit(PROMPTS[0], params): 0}
    for _ in range(3):
        engine.step()
    numbers |= {engine.submit(PROMPTS[1], params): 1}
    for number, (completion,) in engine.completed():
        assert completion.ids == greedy(lm, PROMPTS[numbers[number]], 12)
    assert count.tokens == 2 * 11  # the first of each comes with its prompt


@pytest.mark.parametrize("draft_tokens", [0, 1, 2])
def test_recorded_routing_is_what_the_full_forward_takes(draft_tokens: int) -> None:
    lm = tiny_v3()
    params = SamplingParams(max_tokens=12, temperature=1.0, n=2, record_routing=True)
    made = Engine(lm, draft_tokens=draft_tokens).generate(PROMPTS, params)
    for prompt, samples in zip(PROMPTS, made, strict=True):
        for completion in samples:
            ids = torch.tensor([prompt + completion.ids[:-1]])
            full = lm.network(ids, torch.arange(ids.shape[1])[None]).routing
            assert completion.routing is not None
            assert full is not None
            assert torch.equal(completion.routing.long().sort(-1)[0], full.sort(-1)[0])


def test_a_drafting_engine_streams_and_aborts() -> None:
    lm = tiny_v3()
    params = SamplingParams(max_tokens=20, temperature=0.0, ignore_eos=True)
    engine = Engine(lm, draft_tokens=2)
    assert list(engine.stream(PROMPTS[0], params)) == greedy(lm, PROMPTS[0], 20)
    stream = engine.stream(PROMPTS[1], params)
    next(stream)
    stream.close()
    assert engine.generate([PROMPTS[2]], params)[0][0].ids == greedy(lm, PROMPTS[2], 20)


@pytest.mark.parametrize("prompts", [PROMPTS, LONG])
def test_batched_products_give_the_same(prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel against torch's products, samples of one prompt and drafts included."""
    params = SamplingParams(max_tokens=16, temperature=1.0, n=3)
    fast = Engine(tiny_v3(), draft_tokens=2).generate(prompts, params)
    monkeypatch.setattr("shoestring.engine.runner.library_for", lambda *_: None)
    engine = Engine(tiny_v3(), draft_tokens=2)
    assert engine.runner.cache.latent
    assert engine.runner.cache.library is None
    plain = engine.generate(prompts, params)
    for one, other in zip(fast, plain, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.ids == b.ids
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
