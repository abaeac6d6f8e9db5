"""A step whose tensors keep their places makes what a step with tensors of its own makes; replayed, it makes
the tokens of one that isn't."""

from array import array
from itertools import pairwise

import pytest
import torch

from shoestring.engine.cache import PagedCache, PagedPass
from shoestring.engine.engine import Engine
from shoestring.engine.graphs import SIZES, DecodeGraphs, FixedPass
from shoestring.engine.request import SamplingParams
from tiny import tiny_lm


def filled(lm, blocks: int) -> PagedCache:
    config = lm.config
    cache = PagedCache(config, config.num_hidden_layers, torch.float32, lm.device, None)
    cache.store.grow(blocks, blocks)
    generator = torch.Generator().manual_seed(1)
    for part in cache.store.parts:
        for tensor in part:
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return cache


@torch.no_grad()
def test_a_fixed_step_is_a_paged_one():
    lm = tiny_lm()
    tables = [array("q", [3, 1, 4]), array("q", [0]), array("q", [5, 2])]
    places, ids = [70, 5, 33], torch.tensor([7, 8, 9])
    paged, fixed = filled(lm, 6), filled(lm, 6)
    of_pass = PagedPass(paged, tables, places, [1, 1, 1])
    wanted = lm.network(ids, torch.tensor(places), cache=of_pass).hidden
    # the third stands once more, as what fills a graph's rows does, and every table is wider than it need be
    rows = torch.zeros(4, 4, dtype=torch.int64)
    for row, table in zip(rows, [*tables, tables[-1]], strict=True):
        row[: len(table)] = torch.tensor(list(table))
    places4 = torch.tensor([*places, places[-1]])
    made = lm.network(torch.tensor([7, 8, 9, 9]), places4, cache=FixedPass(fixed, rows, places4)).hidden
    assert torch.allclose(made[:3], wanted, atol=1e-6)
    for ours, theirs in zip(fixed.store.parts, paged.store.parts, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_sizes_leave_a_third_unused_at_most():
    assert SIZES[:8] == [1, 2, 3, 4, 6, 8, 12, 16]
    assert all(3 * (b - a - 1) < b or b < 4 for a, b in pairwise(SIZES))


def test_there_is_none_on_a_cpu():
    lm = tiny_lm()
    assert DecodeGraphs.where_possible(lm.network, filled(lm, 1)) is None


@pytest.mark.cuda
def test_cuda_replayed_steps_make_the_same_tokens():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    lm = tiny_lm()
    lm.network.to("cuda")
    prompts = [lm.tokenizer.encode(f"question {i}: " + "abc " * i) for i in range(7)]
    replayed, started = Engine(lm, max_batch=20), Engine(lm, max_batch=20)
    started.runner.graphs = None
    for _ in range(2):  # the second time what was recorded is there
        for params in (SamplingParams(40, 0.0, ignore_eos=True), SamplingParams(45, 1.0, n=4)):
            ours, theirs = replayed.generate(prompts, params), started.generate(prompts, params)
            assert [[c.ids for c in own] for own in ours] == [[c.ids for c in own] for own in theirs]
            for a, b in zip(ours, theirs, strict=True):
                assert torch.allclose(torch.tensor(a[0].logprobs), torch.tensor(b[0].logprobs), atol=1e-4)
    graphs = replayed.runner.graphs
    assert graphs is not None
    assert len(graphs._graphs) > 3
    # weights that change are read where they lie
    with torch.no_grad():
        for parameter in lm.network.parameters():
            parameter.mul_(1.1)
    params = SamplingParams(20, 0.0, ignore_eos=True)
    ours, theirs = replayed.generate(prompts, params), started.generate(prompts, params)
    assert [c.ids for (c,) in ours] == [c.ids for (c,) in theirs]
