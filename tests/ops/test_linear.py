"""The layers' product with its shortcuts, against F.linear."""

import pytest
import torch
from torch.nn import functional as F

from shoestring.models.linear import Linear
from shoestring.ops.linear import PACKED_ROWS, can_pack, linear, weight_gradient
from tiny import tiny_lm


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("tokens", "inside", "outside"), [(1, 3, 5), (70, 96, 33), (33, 40, 200), (200, 200, 40)]
)
def test_values_and_gradients(dtype, bias, tokens, inside, outside):
    x, weight = random(tokens, inside, dtype=dtype), random(outside, inside, dtype=dtype, seed=1)
    offset = random(outside, dtype=dtype, seed=2) if bias else None
    pull = random(tokens, outside, dtype=dtype, seed=3)
    found = [t.clone().requires_grad_() if t is not None else None for t in (x, weight, offset)]
    wanted = [t.clone().requires_grad_() if t is not None else None for t in (x, weight, offset)]
    out, expected = linear(*found), F.linear(*wanted)
    assert torch.equal(out, expected)
    out.backward(pull)
    expected.backward(pull)
    for a, b in zip(found, wanted, strict=True):
        if a is not None:
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("shape", [(33, 96, 40), (33, 40, 96), (1, 2, 3)])
def test_weight_gradient_turns_either_operand(shape):
    tokens, wide, narrow = shape
    grad, x = random(tokens, wide, dtype=torch.bfloat16), random(tokens, narrow, dtype=torch.bfloat16, seed=1)
    exact = grad.float().t() @ x.float()
    torch.testing.assert_close(weight_gradient(grad, x).float(), exact, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("rows", [1, 16, 70, 300])
def test_a_packed_product_equals_the_plain_one(rows):
    layer = Linear(96, 64, bias=True).to(torch.bfloat16)
    x = random(rows, 96, dtype=torch.bfloat16)
    if not can_pack(x):
        pytest.skip("no bf16 in oneDNN here")
    with torch.no_grad():
        plain = layer(x)
        layer.packs = True
        torch.testing.assert_close(layer(x), plain)
        layer.weight.detach()[3] += 1.0  # as the engine's load_weights writes
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
        layer.weight.copy_(random(64, 96, dtype=torch.bfloat16, seed=9))  # as the optimizer does
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    assert not can_pack(random(PACKED_ROWS + 1, 96, dtype=torch.bfloat16))


def test_writing_through_a_public_name_is_seen_by_the_packed_copies():
    network = tiny_lm().network.to(torch.bfloat16)
    ids = torch.arange(12)[None]

    @torch.no_grad()
    def logits() -> torch.Tensor:
        return network.head(network(ids, ids).hidden)

    before = logits()
    for _, tensor in network.public_tensors():
        tensor.mul_(1.5)
    fresh = tiny_lm(seed=1).network.to(torch.bfloat16)
    fresh.load_state_dict(network.state_dict())
    with torch.no_grad():
        wanted = fresh.head(fresh(ids, ids).hidden)
    assert torch.equal(logits(), wanted)
    assert not torch.equal(before, wanted)
