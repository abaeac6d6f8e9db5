"""vLLM as an engine, the real one (its CPU build does): greedy tokens are ours, logprobs are of what was
sampled from, new weights are taken in place, an abort leaves nothing."""

import dataclasses
import importlib.util

import pytest
import torch

from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.vllm_engine import VLLM
from shoestring.cluster.vllm_words import refuse, seed_of
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from vllm_models import PROMPTS, made, wide

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="no vLLM in this environment: docs/cluster.md"
)


@pytest.mark.slow
@needs_vllm
@pytest.mark.filterwarnings("ignore")
def test_vllm_is_a_generator_like_ours():
    engine = VLLM(Skeleton.of(wide(0)), 16, 0.1).make()
    greedy = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True)
    for version in (1, 2):
        lm = wide(version)
        engine.load_weights(lm.network.public_tensors(), version)
        ours = Engine(lm).generate(PROMPTS, greedy, [str(i) for i in range(4)])
        theirs = made(engine, greedy)
        assert [c.ids for (c,) in theirs] == [c.ids for (c,) in ours]
        for (a,), (b,) in zip(theirs, ours, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
            assert a.weights_version == version
    assert engine._engine.reset_prefix_cache()

    warm = SamplingParams(max_tokens=8, temperature=0.7, n=3, seed=4, ignore_eos=True)
    theirs = made(engine, warm)
    assert {c.logprob_meaning for several in theirs for c in several} == {"tempered"}
    assert len({tuple(c.ids) for c in theirs[2]}) == 3  # samples have seeds of their own
    for prompt, several in zip(PROMPTS, theirs, strict=True):
        for completion in several:
            logits = lm.logits([prompt + completion.ids])[0, len(prompt) - 1 : -1]
            own = torch.log_softmax(logits / 0.7, -1)
            said = own.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
            assert completion.logprobs == pytest.approx(said.tolist(), abs=1e-3)
    assert [[c.ids for c in s] for s in made(engine, warm)] == [[c.ids for c in s] for s in theirs]

    again = SamplingParams(max_tokens=2, ignore_eos=True)
    long = [5 + i % 200 for i in range(200)]
    for _ in range(2):
        engine.submit(long, again, "x")
        while not engine.idle:
            engine.step()
    first, second = (several[0] for _, several in engine.take_finished())
    assert (first.cached_tokens, second.cached_tokens > 0) == (0, True)

    number = engine.submit(PROMPTS[0], SamplingParams(max_tokens=500, n=2, ignore_eos=True), "y")
    engine.step()
    engine.abort(number)
    assert engine.idle
    assert engine.take_finished() == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"record_routing": True}, "routing_replay"), ({"top_logprobs": 2}, "top_logprobs")],
)
def test_what_vllm_is_not_asked_is_refused_by_name(changed, named):
    with pytest.raises(BadInput, match=f"vLLM as a generator doesn't do {named}"):
        refuse([5], dataclasses.replace(SamplingParams(), **changed), wide(0).config)


def test_equal_requests_have_equal_seeds_and_others_other_ones():
    seeds = {seed_of(s, k, n) for s in (0, 1) for k in ("a", "b") for n in (0, 1)}
    assert len(seeds) == 8
    assert seed_of(1, "a", 0) == seed_of(1, "a", 0)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is here")
def test_without_vllm_the_line_says_what_to_install():
    with pytest.raises(BadInput, match=r"engine=vllm.*pip install vllm"):
        VLLM(Skeleton.of(wide(0)), 16, 0.1).make()
