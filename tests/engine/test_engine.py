"""What the engine makes does not depend on how it is made: neighbours, queueing, splitting, sharing."""

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.models.linear import Linear
from shoestring.text.template import Template
from tiny import CHATML, tiny_lm

GREEDY = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)


def prompts(lm: LanguageModel, count: int) -> list[list[int]]:
    return [lm.tokenizer.encode(f"question {i}: " + "abc " * (i % 5)) for i in range(count)]


def plain_greedy(lm: LanguageModel, prompt: list[int], count: int) -> list[int]:
    """One whole forward pass a token, no cache."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(lm.logits([ids])[0, -1].argmax()))
    return ids[len(prompt) :]


def plain_logprobs(lm: LanguageModel, prompt: list[int], ids: list[int], temperature: float) -> list[float]:
    logits = lm.logits([prompt + ids])[0, len(prompt) - 1 : -1].double() / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm()


@pytest.fixture(scope="module")
def asked(lm) -> list[list[int]]:
    return prompts(lm, 9)


@pytest.fixture(scope="module")
def wanted(lm, asked) -> list[list[int]]:
    return [plain_greedy(lm, p, GREEDY.max_tokens) for p in asked]


@pytest.mark.parametrize(("max_batch", "max_prefill"), [(256, 4096), (2, 4096), (4, 1), (3, 40)])
def test_greedy_tokens_are_those_of_whole_forwards(lm, asked, wanted, max_batch, max_prefill):
    made = Engine(lm, max_batch, max_prefill).generate(asked, GREEDY)
    assert [[c.ids for c in samples] for samples in made] == [[ids] for ids in wanted]


def test_greedy_alone_and_with_longer_neighbours(lm, asked, wanted):
    engine = Engine(lm)
    assert engine.generate([asked[0]], GREEDY)[0][0].ids == wanted[0]
    long = lm.tokenizer.encode("x" * 300)
    assert engine.generate([long, asked[0], long, asked[1]], GREEDY)[1][0].ids == wanted[0]


def test_neighbours_that_end_at_different_times(lm, asked, wanted):
    engine = Engine(lm, max_batch=4)
    numbers = {
        engine.submit(prompt, SamplingParams(max_tokens=1 + i, temperature=0.0, ignore_eos=True)): i
        for i, prompt in enumerate(asked)
    }
    for number, (completion,) in engine.completed():
        i = numbers.pop(number)
        assert completion.ids == wanted[i][: 1 + i]
    assert not numbers


def sampled(lm, asked, max_batch, n=5):
    params = SamplingParams(max_tokens=10, temperature=0.7, n=n, seed=3, ignore_eos=True)
    made = Engine(lm, max_batch).generate(asked, params, keys=[f"k{i}" for i in range(len(asked))])
    return [[c.ids for c in samples] for samples in made]


def test_a_sample_depends_on_its_seed_key_and_number_alone(lm, asked):
    whole = sampled(lm, asked, 256)
    for max_batch in (1, 3, 7):  # groups are split over admissions: their prompt is prefilled again
        assert sampled(lm, asked, max_batch) == whole
    assert [samples[:2] for samples in sampled(lm, asked, 256, n=2)] == [s[:2] for s in whole]
    alone = Engine(lm).generate([asked[4]], SamplingParams(10, 0.7, n=5, seed=3, ignore_eos=True), ["k4"])
    assert [c.ids for c in alone[0]] == whole[4]
    assert len({tuple(ids) for ids in whole[4]}) == 5  # and samples do differ
    other = Engine(lm).generate([asked[4]], SamplingParams(10, 0.7, n=5, seed=4, ignore_eos=True), ["k4"])
    assert all(a.ids != b for a, b in zip(other[0], whole[4], strict=True))


@pytest.mark.parametrize(("temperature", "meaning"), [(0.0, "raw"), (1.0, "raw"), (0.7, "tempered")])
def test_logprobs_are_those_of_the_distribution_sampled_from(lm, asked, temperature, meaning):
    params = SamplingParams(8, temperature, n=3, seed=1, ignore_eos=True)
    for prompt, samples in zip(asked, Engine(lm, 5).generate(asked, params), strict=True):
        for completion in samples:
            assert completion.logprob_meaning == meaning
            wanted = plain_logprobs(lm, prompt, completion.ids, temperature or 1.0)
            assert completion.logprobs == pytest.approx(wanted, abs=1e-4)


def test_top_k_and_top_p_keep_to_their_support(lm, asked):
    def support(params: SamplingParams) -> tuple[set[int], list[float], torch.Tensor]:
        (made,) = Engine(lm).generate([asked[0]], params)
        raw = lm.logits([asked[0]])[0, -1]
        return {c.ids[0] for c in made}, [c.logprobs[0] for c in made], raw

    seen, logprobs, raw = support(SamplingParams(1, 0.5, top_k=3, n=64))
    best = raw.topk(3)
    assert seen == set(best.indices.tolist())
    inside = (best.values / 0.5).log_softmax(-1).tolist()
    assert all(min(abs(x - y) for y in inside) < 1e-4 for x in logprobs)  # renormalised over the three
    seen, _, raw = support(SamplingParams(1, 0.5, top_p=0.7, n=64))
    ordered = (raw / 0.5).softmax(-1).sort(descending=True)
    count = int((ordered.values.cumsum(0) < 0.7).sum()) + 1
    assert 1 < count < 50
    assert 1 < len(seen) <= count
    assert seen <= set(ordered.indices[:count].tolist())
    assert Engine(lm).generate([asked[0]], SamplingParams(1, top_k=1))[0][0].logprob_meaning == "truncated"


def test_stopping(lm, asked, wanted):
    (ids,) = wanted[:1]
    stop = ids[4]
    first = ids.index(stop) + 1
    engine = Engine(lm)
    (made,) = engine.generate([asked[0]], SamplingParams(12, 0.0, stop_token_ids=(stop,)))[0]
    assert (made.ids, made.finish_reason, made.cut) == (ids[:first], FinishReason.STOP, False)
    (made,) = engine.generate([asked[0]], SamplingParams(12, 0.0, stop_token_ids=(stop,), ignore_eos=True))[0]
    assert (made.ids, made.finish_reason, made.cut) == (ids, FinishReason.LENGTH, True)
    template = Template(lm.tokenizer, CHATML, (stop,))  # its ids count where none are given
    own = LanguageModel(lm.network, lm.tokenizer, template, lm.config, lm.lineage, lm.name)
    (made,) = Engine(own).generate([asked[0]], SamplingParams(12, 0.0))[0]
    assert made.ids == ids[:first]


def test_the_window_is_the_limit():
    lm = tiny_lm(window=32)
    engine = Engine(lm)
    (made,) = engine.generate([list(range(28))], SamplingParams(100, 0.0, ignore_eos=True))[0]
    assert (len(made.ids), made.finish_reason) == (4, FinishReason.LENGTH)
    assert made.ids == plain_greedy(lm, list(range(28)), 4)
    with pytest.raises(BadInput, match="40 tokens and the model's window is 32"):
        engine.generate([list(range(5)), list(range(40))], GREEDY)
    assert not list(engine.completed())  # the good one beside it doesn't run on
    with pytest.raises(BadInput, match="empty"):
        engine.submit([], GREEDY)


@pytest.mark.parametrize(
    "bad", [{"max_tokens": 0}, {"n": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}]
)
def test_params_that_mean_nothing_are_refused(bad):
    with pytest.raises(BadInput, match=next(iter(bad))):
        SamplingParams(**bad)


def test_abort_frees_what_it_held(lm, asked, wanted):
    engine = Engine(lm, max_batch=3)
    group = engine.submit(asked[0], SamplingParams(12, n=5, ignore_eos=True))  # runs in part, waits in part
    kept = engine.submit(asked[1], GREEDY)
    waiting = engine.submit(asked[2], GREEDY)
    for _ in range(3):
        engine.step()
    assert len(engine.scheduler.running) == 3
    engine.abort(group)
    engine.abort(waiting)
    engine.abort(99)
    assert not engine.scheduler.running
    assert {n: c[0].ids for n, c in engine.completed()} == {kept: wanted[1]}
    assert_empty(engine)


def assert_empty(engine: Engine) -> None:
    """Nothing runs, waits or is remembered, and the memory is given back."""
    assert not engine.scheduler.running
    assert not engine.scheduler.waiting
    assert not engine._requests
    assert not engine._finished
    assert engine.idle
    assert engine.usage().blocks_used == 0
    assert [t.numel() for part in engine.runner.cache.store.parts for t in part] == [0] * 4


def test_a_stream_gives_the_tokens_and_closing_it_ends_the_work(lm, asked, wanted):
    engine = Engine(lm)
    assert list(engine.stream(asked[0], GREEDY)) == wanted[0]
    assert_empty(engine)
    stream = engine.stream(asked[0], GREEDY)
    assert [next(stream) for _ in range(3)] == wanted[0][:3]
    stream.close()
    assert_empty(engine)
    assert engine.generate([asked[1]], GREEDY)[0][0].ids == wanted[1]


def test_what_finishes_meanwhile_is_not_lost(lm, asked, wanted):
    engine = Engine(lm)
    short = engine.submit(asked[2], SamplingParams(2, 0.0, ignore_eos=True))
    assert list(engine.stream(asked[0], GREEDY)) == wanted[0]
    assert engine.generate([asked[1]], GREEDY)[0][0].ids == wanted[1]
    both = [engine.submit(asked[i], SamplingParams(1, 0.0, ignore_eos=True)) for i in (3, 4)]
    first = next(engine.completed())  # an iterator that is left half way
    assert (first[0], first[1][0].ids) == (short, wanted[2][:2])
    assert {n: c[0].ids for n, c in engine.completed()} == {
        b: wanted[i][:1] for b, i in zip(both, (3, 4), strict=True)
    }
    assert_empty(engine)


def test_memory_is_given_back_after_a_batch(lm, asked):
    engine = Engine(lm)
    engine.generate(asked, SamplingParams(8, n=3, ignore_eos=True))
    assert_empty(engine)


@pytest.mark.cuda
def test_cuda(asked, wanted):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    lm = tiny_lm()
    lm.network.to("cuda")
    made = Engine(lm, 4).generate(asked, GREEDY)
    assert [c.ids for (c,) in made] == wanted
    sampled = Engine(lm, 4).generate(asked[:3], SamplingParams(6, 0.7, n=3, ignore_eos=True))
    again = Engine(tiny_lm(), 4).generate(asked[:3], SamplingParams(6, 0.7, n=3, ignore_eos=True))
    assert [[c.ids for c in s] for s in sampled] == [[c.ids for c in s] for s in again]


@pytest.mark.parametrize("when", ["read", "decode"])
def test_a_full_memory_is_one_line(when, monkeypatch):
    lm = tiny_lm()
    engine = Engine(lm, max_batch=8)

    def full(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes")

    monkeypatch.setattr(engine.runner, when, full)
    with pytest.raises(
        ShoestringError, match=r"out of memory while generating: .* lower max_batch \(it is 8\)"
    ):
        engine.generate([[40, 41, 42]], SamplingParams(max_tokens=4, n=2, ignore_eos=True))


def test_weights_that_were_copied_for_decoding_are_copied_again_when_they_are_handed_over():
    """At once: the time it takes is the hand-over's, not the next token's."""
    lm = tiny_lm()
    lm.network.to(torch.bfloat16)
    engine = Engine(lm, max_batch=8)
    params = SamplingParams(max_tokens=3, n=8, ignore_eos=True)
    engine.generate([[40, 41, 42]], params)
    linears = [m for m in lm.network.modules() if isinstance(m, Linear)]
    made = [copy for m in linears for copy in (m._packed, m._panels) if copy._copy is not None]
    if not made:
        pytest.skip("this processor's torch packs no bf16 weights")
    before = [copy._state for copy in made]
    with torch.no_grad():
        for _, tensor in lm.network.public_tensors():
            tensor.mul_(1.01)
    engine.load_weights(lm.network.public_tensors(), version=1)
    after = [copy._state for copy in made]
    assert all(a != b for a, b in zip(before, after, strict=True))
    engine.generate([[40, 41, 42]], params)
    assert [copy._state for copy in made] == after
