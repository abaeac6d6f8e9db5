"""FP8 training switches exactly the recipe's products, and comes near to what it replaces."""

import pytest
import torch

from shoestring.models.linear import Linear
from shoestring.models.moe import Experts
from shoestring.models.numerics import FP8Experts, use_fp8
from shoestring.models.presets import from_width
from shoestring.models.transformer import Transformer

IDS = torch.randint(0, 64, (2, 24), generator=torch.Generator().manual_seed(0))
POSITIONS = torch.arange(24).expand(2, 24)


@pytest.fixture
def network() -> Transformer:
    network = Transformer(from_width(128, 64))
    network.init_weights(0)
    return network


def logits(network: Transformer, routing: torch.Tensor | None = None) -> torch.Tensor:
    return network.head(network(IDS, POSITIONS, routing=routing).hidden)


def gradients(network: Transformer, routing: torch.Tensor | None) -> dict[str, torch.Tensor]:
    network.zero_grad()
    made = logits(network, routing)[:, :-1].flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(made, IDS[:, 1:].flatten())
    loss.backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_it_covers_what_the_recipe_names(network):
    use_fp8(network, True)
    linears = {n: m.numerics for n, m in network.named_modules() if isinstance(m, Linear)}
    assert [n for n, numerics in linears.items() if numerics == "weights"] == ["mtp.0.eh_proj"]
    assert len(linears) > 20
    experts = [m for m in network.modules() if isinstance(m, Experts)]
    assert len(experts) == 3  # two layers and the MTP module's
    assert all(isinstance(m, FP8Experts) for m in experts)


def test_on_and_off_again_is_where_it_began(network):
    before, parameters = logits(network), dict(network.named_parameters())
    use_fp8(network, True)
    with_fp8 = logits(network)
    assert {n: id(p) for n, p in network.named_parameters()} == {n: id(p) for n, p in parameters.items()}
    assert 1e-3 < (with_fp8 - before).norm() / before.norm() < 0.2
    use_fp8(network, False)
    assert torch.equal(logits(network), before)
    assert not any(isinstance(m, FP8Experts) for m in network.modules())


def test_gradients_point_the_same_way(network):
    """With the same experts: a rounded score may choose another."""
    routing = network(IDS, POSITIONS).routing
    exact = gradients(network, routing)
    use_fp8(network, True)
    rough = gradients(network, routing)
    assert rough.keys() == exact.keys()
    for name, grad in rough.items():
        assert grad.isfinite().all(), name
        if exact[name].any():
            near = torch.nn.functional.cosine_similarity(grad.flatten(), exact[name].flatten(), dim=0)
            assert near > 0.9, name


def test_the_same_without_gradients(network, monkeypatch):
    monkeypatch.setattr(
        "shoestring.models.moe.few_library", lambda *_: None
    )  # routers round their sums otherwise
    use_fp8(network, True)
    with torch.no_grad():
        quiet = logits(network)
    assert torch.equal(quiet, logits(network).detach())
