"""The same request gives the same tokens alone, among others, in pieces, after it made room, and with a cache
that knows its beginning."""

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.ops.paged import SPAN
from tiny import tiny_lm
from tiny_v3 import tiny_v3

GREEDY = SamplingParams(max_tokens=70, temperature=0.0, ignore_eos=True)
SAMPLED = SamplingParams(max_tokens=36, temperature=0.8, n=2, seed=6, ignore_eos=True)
CLOSE = 0.05  # between the two best logits in float32, where bf16 may take the other
MODELS = {"heads": tiny_lm, "latents": tiny_v3}


def dense_v3() -> LanguageModel:
    """Without experts: in bf16 a router's choice flips where no two logits are near."""
    return tiny_v3(first_k_dense_replace=3)


def asked() -> list[list[int]]:
    """Of many lengths; some begin alike, for some blocks or up to a token in one."""
    numbers = [[(7 * i + j * j) % 250 for j in range(5 + 16 * i)] for i in range(6)]
    common = [3 * j % 250 for j in range(75)]
    return [*numbers, *([*common[:at], 9, i, 4] for i, at in enumerate((64, 70, 32, 31)))]


def blocks(engine: Engine, count: int) -> float:
    """GiB of so many blocks."""
    return count * engine.runner.cache.store.block_bytes / 2**30


def run(lm: LanguageModel, params: SamplingParams, **more) -> tuple[Engine, list[list[list[int]]]]:
    engine = Engine(lm, **more)
    made = engine.generate(asked(), params, keys=[f"k{i}" for i in range(len(asked()))])
    return engine, [[c.ids for c in samples] for samples in made]


def alone(lm: LanguageModel, params: SamplingParams) -> list[list[list[int]]]:
    found = []
    for i, prompt in enumerate(asked()):
        found.append([c.ids for c in Engine(lm, draft_tokens=0).generate([prompt], params, [f"k{i}"])[0]])
    return found


@pytest.fixture(params=["kernel", "products"])
def kernel(request, monkeypatch) -> bool:
    if request.param == "products":
        monkeypatch.setattr("shoestring.engine.runner.library_for", lambda *_: None)
    return request.param == "kernel"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("params", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_whatever_is_around_a_request(name, params, kernel):
    lm = MODELS[name]()
    wanted = alone(lm, params)
    tight = {"cache_gib": blocks(Engine(lm, draft_tokens=0), 7), "draft_tokens": 0}
    ways = {
        "together": {},
        "in pieces beside others": {"max_prefill_tokens": 50, "chunk_tokens": 9},
        "with little memory, in pieces": {**tight, "chunk_tokens": 16},
        "drafting": {"draft_tokens": 2},
    }
    if kernel:
        ways |= {
            "few at a time": {"max_batch": 4},
            "in pieces": {"max_prefill_tokens": 20},
            "with little memory": tight,
            "with little memory and a prefix cache": {**tight, "prefix_cache": True},
            "drafting with little memory": {"cache_gib": blocks(Engine(lm), 7), "draft_tokens": 3},
        }
    for way, more in ways.items():
        engine, made = run(lm, params, **more)
        assert made == wanted, way
        assert (engine.usage().preemptions > 0) is ("little" in way), way
        assert engine.usage().blocks_used == 0


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("draft_tokens", [0, 2])
def test_what_is_found_in_the_cache(name, draft_tokens, kernel):
    lm = MODELS[name]()
    engine = Engine(lm, prefix_cache=True, draft_tokens=draft_tokens, chunk_tokens=20)
    names = [f"k{i}" for i in range(len(asked()))]
    for params in (GREEDY, SAMPLED):
        wanted = alone(lm, params)
        for again in range(2):
            made = engine.generate(asked(), params, names)
            assert [[c.ids for c in samples] for samples in made] == wanted
            for prompt, samples in zip(asked(), made, strict=True):
                whole = (len(prompt) - 1) // SPAN * SPAN
                known = params is SAMPLED or again
                assert all(c.cached_tokens == whole for c in samples) or not known
    assert engine.usage().blocks_cached > 0
    talk = asked()[5]  # a next turn finds what was made in the one before too
    for _ in range(3):
        (completion,) = engine.generate([talk], GREEDY, ["k"])[0]
        assert completion.ids == Engine(lm, draft_tokens=0).generate([talk], GREEDY, ["k"])[0][0].ids
        before, talk = len(talk), [*talk, *completion.ids, 11, 12]
    assert completion.cached_tokens >= (before - 2 - 1) // SPAN * SPAN


@pytest.mark.parametrize("name", MODELS)
def test_64_at_once(name):
    lm = MODELS[name]()
    prompt = asked()[3]
    wanted = Engine(lm).generate([prompt], GREEDY)[0][0].ids
    others = [[(i * j) % 250 for j in range(3 + i)] for i in range(63)]
    engine = Engine(lm, max_batch=64)
    made = engine.generate([*others[:30], prompt, *others[30:]], GREEDY)
    assert made[30][0].ids == wanted


@pytest.mark.parametrize("make", [tiny_lm, dense_v3])
def test_in_bf16_texts_part_only_at_a_tie(make):
    lm, exact = make(), make()
    with torch.no_grad():
        for weight in lm.network.parameters():  # else one bf16 pass is off by 0.1 by itself
            weight.mul_(0.5 if weight.dim() > 1 else 1)
    lm.network.to(torch.bfloat16)
    exact.network.load_state_dict({k: v.float() for k, v in lm.network.state_dict().items()})
    wanted = alone(lm, GREEDY)
    little = {"cache_gib": blocks(Engine(lm, draft_tokens=0), 7), "draft_tokens": 0}
    for more in [{}, {"chunk_tokens": 9, "max_prefill_tokens": 50}, little, {"prefix_cache": True}]:
        for prompt, (ids,), (best,) in zip(asked(), run(lm, GREEDY, **more)[1], wanted, strict=True):
            at = next((i for i, (a, b) in enumerate(zip(ids, best, strict=True)) if a != b), None)
            if at is not None:
                a, b = exact.logits([prompt + best[:at]])[0, -1].topk(2).values.tolist()
                assert a - b < CLOSE


def test_a_request_that_cannot_fit_is_refused_with_both_numbers():
    lm = tiny_lm()
    engine = Engine(lm, cache_gib=blocks(Engine(lm), 5))
    with pytest.raises(BadInput, match=r"100 tokens and up to 70 .* room for 160; lower max_tokens or raise"):
        engine.generate([[5] * 100], GREEDY)
    assert engine.generate([[5] * 85], GREEDY)[0][0].finish_reason == FinishReason.LENGTH
    small = Engine(lm, cache_gib=0)
    with pytest.raises(BadInput, match="room for 0"):
        small.submit([1], GREEDY)


def test_new_weights_find_nothing_and_the_cache_is_counted():
    lm = tiny_lm()
    engine = Engine(lm, prefix_cache=True)
    prompt = [5] * 70
    engine.generate([prompt], GREEDY)
    kept = engine.usage()
    assert (kept.blocks_used, kept.blocks_cached, kept.prefix_queries, kept.prefix_hits) == (0, 4, 70, 0)
    assert engine.generate([prompt], GREEDY)[0][0].cached_tokens == 64
    assert engine.usage().prefix_hits == 64
    other = tiny_lm(seed=1)
    engine.load_weights(other.network.public_tensors(), version=4)
    assert engine.usage().blocks_cached == 0
    assert engine.runner.cache.store.blocks == 0
    (made,) = engine.generate([prompt], GREEDY)[0]
    assert (made.cached_tokens, made.weights_version) == (0, 4)
    assert made.ids == Engine(other).generate([prompt], GREEDY)[0][0].ids


def test_weights_between_steps():
    """What runs goes on with them; what it had read under the old ones is nobody's beginning."""
    lm, other = tiny_lm(), tiny_lm(seed=1)
    engine = Engine(lm, prefix_cache=True)
    prompt = [5] * 70
    first = engine.submit(prompt, GREEDY)
    for _ in range(3):
        engine.step()
    engine.load_weights(other.network.public_tensors(), version=1)
    second = engine.submit(prompt, GREEDY)
    done = dict(engine.completed())
    assert done[first][0].weights_version == 1
    assert done[second][0].cached_tokens == 0
    assert done[second][0].ids == Engine(other).generate([prompt], GREEDY)[0][0].ids


def test_progress_shows_every_sample_and_an_abort_frees_its_blocks():
    lm = tiny_lm()
    engine = Engine(lm, max_batch=3, chunk_tokens=20)
    number = engine.submit([5] * 70, SamplingParams(30, n=4, seed=1, ignore_eos=True))
    other = engine.submit([6] * 40, GREEDY)
    assert engine.progress(99) == []
    assert [m.ids for m in engine.progress(number)] == [[]] * 4
    for _ in range(4):
        engine.step()
    made = engine.progress(number)
    assert [len(m.ids) for m in made] == [4, 4, 4, 0]
    assert [len(m.logprobs) for m in made] == [4, 4, 4, 0]
    assert [m.finish_reason for m in made] == [None] * 4
    usage = engine.usage()
    assert (usage.running, usage.waiting, usage.blocks_used) == (3, 2, 2 + 3)
    engine.abort(number)
    assert engine.progress(number) == []
    assert engine.usage().blocks_used == 0
    while not engine.idle:
        engine.step()
    assert engine.progress(other)[0].finish_reason == FinishReason.LENGTH
    ((found, (completion,)),) = engine.take_finished()
    assert (found, len(completion.ids)) == (other, 70)
    assert engine.take_finished() == []
    assert not list(engine.completed())


def test_a_step_that_fails_leaves_nothing_half_read(monkeypatch):
    lm = tiny_lm()
    engine = Engine(lm, prefix_cache=True)
    prompts = [[5] * 70 + [i] for i in range(4)]
    wanted = [Engine(lm).generate([prompt], GREEDY)[0][0].ids for prompt in prompts]
    numbers = [engine.submit(prompt, GREEDY) for prompt in prompts]
    network = lm.network.forward
    monkeypatch.setattr(lm.network, "forward", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.step()
    monkeypatch.setattr(lm.network, "forward", network)
    engine.abort(numbers[0])  # whose blocks the others had found
    done = dict(engine.completed())
    assert [done[number][0].ids for number in numbers[1:]] == wanted[1:]


def test_lookups_are_right_where_the_text_repeats_itself():
    """A head of zeros makes every draw the same token, so each text repeats itself."""
    lm = tiny_lm()
    with torch.no_grad():
        lm.network.embed_tokens.zero_()
    engine = Engine(lm)
    (made,) = engine.generate([[5] * 20], GREEDY)[0]
    assert made.ids == [0] * 70
    count = engine.lookups
    assert count is not None
    assert engine.drafts is None
    assert count.acceptance > 0.9
    assert count.tokens_per_forward > 3
    assert Engine(lm, draft_tokens=0).lookups is None
    before = count.steps
    engine.generate([[5] * 20] * 8, GREEDY)  # many at once: it wouldn't pay
    assert count.steps == before
