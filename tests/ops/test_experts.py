"""The grouped experts against one expert after the other, forward and backward."""

import pytest
import torch

from shoestring.ops.experts import Layout, combine, grouped_experts, grouped_experts_plain, spread


def inputs(dtype: torch.dtype, tokens: int = 50) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, 32, generator=g)
    gate_up, down = torch.randn(6, 48, 32, generator=g) * 0.2, torch.randn(6, 32, 24, generator=g) * 0.2
    weights = torch.rand(tokens, 2, generator=g)
    return [t.to(dtype).requires_grad_() for t in (x, gate_up, down)] + [weights.requires_grad_()]


def choice(tokens: int = 50) -> torch.Tensor:
    """Two different experts a token; the last one is never chosen."""
    g = torch.Generator().manual_seed(1)
    return torch.stack([torch.randperm(5, generator=g)[:2] for _ in range(tokens)])


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_grouped_equals_looped(dtype: torch.dtype, close: float) -> None:
    results = []
    for run in (grouped_experts, grouped_experts_plain):
        x, gate_up, down, weights = inputs(dtype)
        out = run(x, choice(), weights, gate_up, down)
        grads = torch.autograd.grad((out.float() ** 2).sum(), (x, gate_up, down, weights))
        results.append((out, *grads))
    for ours, plain in zip(*results, strict=True):
        assert ours.dtype == plain.dtype
        torch.testing.assert_close(ours, plain, rtol=close, atol=close * float(plain.detach().abs().max()))
    assert results[0][2][5].abs().max() == 0  # nobody's expert has no gradient


def test_rows_go_to_their_places_and_come_back() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    layout = Layout(torch.tensor([[4, 0], [1, 2]]), [4, 5], torch.tensor([3]))
    assert spread(x, layout).tolist() == [[1, 2], [3, 4], [3, 4], [0, 0], [1, 2]]
    weights = torch.tensor([[0.5, 2.0], [1.0, -1.0]])
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0], [9.0, 9.0], [4.0, 4.0]])
    assert combine(rows, layout, weights).tolist() == [[4.0, 2.0], [0.0, -2.0]]


def test_an_experts_rows_are_filled_up_to_few_numbers() -> None:
    ids = torch.tensor([[0, 2]] * 40 + [[2, 1]] * 27)  # 40, 27 and 67 of 134 pairs: steps of 2
    layout = Layout.of(ids, 4)
    assert layout.ends == [40, 68, 136, 136]
    assert layout.empty.tolist() == [67, 135]
    places = layout.place.flatten().sort()[0].tolist()
    assert places == [i for i in range(136) if i not in (67, 135)]
    assert layout.place[0].tolist() == [0, 68]
    assert layout.place[40].tolist() == [108, 40]


def test_plain_torch_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, gate_up, down, weights = inputs(torch.float32)
    fast = grouped_experts(x, choice(), weights, gate_up, down)
    grads = torch.autograd.grad(fast.square().sum(), (x, weights))
    monkeypatch.setattr("shoestring.ops.experts.library_for", lambda *_: None)
    plain = grouped_experts(x, choice(), weights, gate_up, down)
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(grads, torch.autograd.grad(plain.square().sum(), (x, weights)))
