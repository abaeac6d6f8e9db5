"""The layers of a decode step against what they stand for; neighbours and threads change nothing in them."""

import pytest
import torch
from torch.nn import functional as F

from shoestring.models.config import ModelConfig
from shoestring.models.moe import MLP, MoE, Router, RoutingTrace
from shoestring.ops.experts import grouped_experts_plain
from shoestring.ops.few import few_experts, few_library, few_linear, few_swiglu
from shoestring.ops.native import Library
from shoestring.ops.swiglu import silu_mul_plain
from tiny_v3 import v3_config

KINDS = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.3).to(dtype)


def library_of(x: torch.Tensor) -> Library:
    with torch.no_grad():
        library = few_library(x)
    if library is None:
        pytest.skip("no kernels here")
    return library


def close(found: torch.Tensor, wanted: torch.Tensor, bound: float) -> None:
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted, rtol=bound, atol=bound * float(wanted.abs().max()))


@pytest.mark.parametrize(("dtype", "bound"), KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 2, 5, 8])
def test_linear(dtype: torch.dtype, bound: float, bias: bool, tokens: int) -> None:
    x, weight = random(tokens, 70, dtype=dtype), random(37, 70, dtype=dtype, seed=1)
    offset = random(37, dtype=dtype, seed=2) if bias else None
    library = library_of(x)
    out = few_linear(library, x, weight, offset)
    close(out, F.linear(x, weight, offset), bound)
    alone = torch.cat([few_linear(library, x[i : i + 1], weight, offset) for i in range(tokens)])
    assert torch.equal(out, alone)


def swiglu(x: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    return F.linear(silu_mul_plain(F.linear(x, gate_up)), down)


@pytest.mark.parametrize(("dtype", "bound"), KINDS)
@pytest.mark.parametrize("tokens", [1, 3, 50])
def test_experts_and_shared_ones(dtype: torch.dtype, bound: float, tokens: int) -> None:
    x = random(tokens, 33, dtype=dtype)
    routed = random(6, 48, 33, dtype=dtype, seed=1), random(6, 33, 24, dtype=dtype, seed=2)
    shared = random(80, 33, dtype=dtype, seed=3), random(33, 40, dtype=dtype, seed=4)
    g = torch.Generator().manual_seed(1)
    ids = torch.stack([torch.randperm(5, generator=g)[:2] for _ in range(tokens)])  # the last has no tokens
    weights, library = torch.rand(tokens, 2, generator=g), library_of(x)
    plain = grouped_experts_plain(x, ids, weights, *routed)
    close(few_experts(library, x, ids, weights, routed, None), plain, bound)
    close(few_swiglu(library, x, *shared), swiglu(x, *shared), bound)
    both = few_experts(library, x, ids, weights, routed, shared)
    close(both, plain + swiglu(x, *shared), bound)
    rows = [slice(i, i + 1) for i in range(tokens)]
    alone = torch.cat([few_experts(library, x[r], ids[r], weights[r], routed, shared) for r in rows])
    assert torch.equal(both, alone)


def test_threads_change_nothing() -> None:
    x = random(40, 512, dtype=torch.bfloat16)  # more work than goes to one thread
    routed = random(6, 400, 512, dtype=x.dtype, seed=1), random(6, 512, 200, dtype=x.dtype, seed=2)
    shared = random(600, 512, dtype=x.dtype, seed=3), random(512, 300, dtype=x.dtype, seed=4)
    ids = torch.arange(80).view(40, 2) % 6
    library, before, results = library_of(x), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made = few_experts(library, x, ids, torch.ones(40, 2), routed, shared)
            results.append((made, few_linear(library, x, shared[0], None)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert torch.equal(results[0][1], other[1])


ROUTERS = [
    {},
    {"n_group": 4, "topk_group": 2},
    {"scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": False},
    {"scoring_func": "softmax", "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 1},
]


def router_config(**changes: object) -> ModelConfig:
    return v3_config(n_routed_experts=16, num_experts_per_tok=3, **changes)


@pytest.mark.parametrize("changes", ROUTERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_router(changes: dict[str, object], dtype: torch.dtype) -> None:
    router = Router(router_config(**changes)).to(dtype)
    with torch.no_grad():
        router.weight.copy_(random(*router.weight.shape, dtype=dtype, seed=5))
        # -3: a score with its bias below 0 is still chosen before what its group hides
        router.e_score_correction_bias.copy_(random(16, seed=6) - 3)
    x = random(30, router.weight.shape[1], dtype=dtype, seed=7)
    library_of(x)
    with torch.no_grad():
        ids, weights = router(x, RoutingTrace())
    wanted, expected = router(x, RoutingTrace())  # gradients are asked for: torch's operations
    order, other = ids.sort(-1), wanted.sort(-1)
    assert torch.equal(order[0], other[0])
    torch.testing.assert_close(weights.gather(1, order[1]), expected.detach().gather(1, other[1]))


@pytest.mark.parametrize("shared", [0, 2])
def test_a_layer_takes_the_short_way_and_gives_the_same(shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = router_config(n_shared_experts=shared)
    torch.manual_seed(0)
    moe, mlp = MoE(config), MLP(config, config.intermediate_size)
    for p in (*moe.parameters(), *mlp.parameters()):
        torch.nn.init.normal_(p, std=0.2)
    x, made = random(5, config.hidden_size, seed=3), []
    with torch.no_grad():
        made.append((moe(x, RoutingTrace()), mlp(x)))
        monkeypatch.setattr("shoestring.models.moe.few_library", lambda *_: None)
        made.append((moe(x, RoutingTrace()), mlp(x)))
    torch.testing.assert_close(made[0], made[1])
