"""Routing by hand: groups, the bias, weights, the balance loss, replay."""

import torch

from shoestring.models.moe import Router, RoutingTrace, balance_loss, choose_experts
from tiny_v3 import v3_config, v3_network

SCORES = torch.tensor([[0.9, 0.1, 0.5, 0.5, 0.8, 0.0, 0.3, 0.2]])
NONE = torch.zeros(8)


def chosen(scores: torch.Tensor, bias: torch.Tensor, **changes: object) -> list[int]:
    return sorted(choose_experts(scores, bias, v3_config(**changes))[0].tolist())


def test_groups_are_ranked_by_their_best_two_and_the_rest_is_out_of_reach() -> None:
    # groups of two: 0.9 + 0.1, 0.5 + 0.5, 0.8 + 0.0, 0.3 + 0.2; the first two are kept
    assert chosen(SCORES, NONE, n_group=4, topk_group=2) == [0, 2] or chosen(
        SCORES, NONE, n_group=4, topk_group=2
    ) == [0, 3]
    assert chosen(SCORES, NONE, n_group=1, topk_group=1) == [0, 4]


def test_v2_ranks_groups_by_their_best_one_and_knows_no_bias() -> None:
    bias = torch.full((8,), 5.0) * torch.arange(8)
    method = {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}
    assert chosen(SCORES, bias, **method) == [0, 4]
    assert chosen(SCORES, bias, topk_method="greedy", n_group=4, topk_group=1) == [0, 4]


def test_an_expert_of_a_kept_group_is_taken_even_where_score_and_bias_are_negative() -> None:
    bias = torch.full((8,), -2.0)
    kept = chosen(SCORES, bias, n_group=4, topk_group=1)
    assert kept in ([0, 1], [2, 3])  # a mask of 0 instead of -inf would take masked experts here


def test_the_bias_moves_the_choice_and_never_the_weights() -> None:
    config = v3_config(n_group=1, topk_group=1, routed_scaling_factor=2.0)
    router = Router(config)
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        router.weight.copy_(torch.randn(8, 32, generator=torch.Generator().manual_seed(1)) * 0.2)
    scores = (x @ router.weight.detach().T).sigmoid()
    before, _ = router(x, RoutingTrace())
    router.e_score_correction_bias[:2] = 9.0
    ids, weights = router(x, RoutingTrace())
    assert sorted(ids[0].tolist()) == [0, 1]
    assert not torch.equal(before.sort(-1)[0], ids.sort(-1)[0])
    own = scores.gather(1, ids)
    torch.testing.assert_close(weights, 2.0 * own / own.sum(-1, keepdim=True))


def test_the_bias_stays_float32_in_a_bf16_network() -> None:
    network = v3_network()
    network.routers()[0].e_score_correction_bias.fill_(0.001)
    network.to(torch.bfloat16)
    bias = network.routers()[0].e_score_correction_bias
    assert bias.dtype == torch.float32
    assert bias[0].item() == torch.tensor(0.001).item()


def test_balance_loss_by_hand() -> None:
    """Two sequences over two experts, one of two chosen: the first even, the second all on expert 0."""
    scores = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.75, 0.25]], requires_grad=True)
    rows = torch.tensor([0, 0, 1])
    # first: f = (1, 1), P = (0.5, 0.5) -> 1; second: f = (2, 0), P = (0.75, 0.25) -> 1.5
    loss = balance_loss(scores, rows, top_k=1)
    torch.testing.assert_close(loss, torch.tensor(1.25))
    loss.backward()
    assert scores.grad is not None
    assert scores.grad[2, 0] > 0


def test_replay_gives_the_same_states_and_lets_the_router_learn() -> None:
    network = v3_network()
    ids = torch.arange(12)[None]
    positions = torch.arange(12)[None]
    first = network(ids, positions)
    assert first.routing is not None
    assert first.routing.shape == (12, 2, 2)
    assert first.loads is not None
    assert first.loads.sum(-1).tolist() == [24, 24]
    for router in network.routers():
        router.e_score_correction_bias.normal_(0, 3, generator=torch.Generator().manual_seed(0))
    moved = network(ids, positions)
    replayed = network(ids, positions, routing=first.routing)
    assert not torch.allclose(moved.hidden, first.hidden)
    torch.testing.assert_close(replayed.hidden, first.hidden)
    partly = first.routing.clone()
    partly[5:] = -1
    again = network(ids, positions, routing=partly)
    assert torch.equal(again.routing[:5], first.routing[:5])
    assert torch.equal(again.routing[6:], moved.routing[6:])
    replayed.hidden.sum().backward()
    grad = network.routers()[0].weight.grad
    assert grad is not None
    assert grad.abs().max() > 0
