"""Drawing within limits: the kernel against the plain form, what each limit keeps, and in which order."""

import math
import random

import numpy as np
import pytest
import torch

from shoestring.ops import limits as limits_module
from shoestring.ops.limits import Limits, draw_limited, draw_limited_plain, keep_plain
from shoestring.ops.sample import sample_plain, uniforms

ALMOST_ONE = 1 - 2.0**-53


@pytest.fixture(params=["native", "plain"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds with and without a compiler."""
    if request.param == "plain":
        monkeypatch.setattr(limits_module, "library_for", lambda *tensors: None)
    return request.param


def logits_of(rows: int, vocab: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * scale


def uniform_of(rows: int, place: int = 0) -> torch.Tensor:
    return torch.from_numpy(uniforms(np.arange(rows, dtype=np.uint64), np.full(rows, place)))


def limits_of(rows: int, vocab: int, seed: int) -> Limits:
    """A mixture, rows without some or any of them included."""
    rng = random.Random(seed)
    return Limits(
        [rng.choice([0.0, 0.3, 0.7, 1.0, 1.6]) for _ in range(rows)],
        [rng.choice([0, 0, 1, 2, 7, 40, 300, vocab - 1, vocab, vocab + 5]) for _ in range(rows)],
        [rng.choice([1.0, 1.0, 1e-9, 0.3, 0.9, 0.95, 0.999]) for _ in range(rows)],
        [rng.choice([0.0, 0.0, 0.01, 0.2, 1.0]) for _ in range(rows)],
    )


def masks_of(rows: int, vocab: int, seed: int) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    shares = [None, 0.5, 0.01, None, 0.9]
    masks: list[torch.Tensor | None] = []
    for row in range(rows):
        share = shares[row % len(shares)]
        mask = None if share is None else torch.rand(vocab, generator=generator) < share
        if mask is not None:
            mask[row % vocab] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize("vocab", [3, 256, 300, 1021, 49152])
@pytest.mark.parametrize("masked", [False, True])
def test_the_two_forms_agree(vocab, masked):
    rows = 200 if vocab < 2000 else 20
    logits = logits_of(rows, vocab, seed=vocab)
    if vocab == 1021:
        logits = (logits * 2).round() / 2  # ties everywhere
    limits, uniform = limits_of(rows, vocab, vocab), uniform_of(rows)
    masks = masks_of(rows, vocab, 1) if masked else [None] * rows
    allowed = torch.stack([torch.ones(vocab, dtype=torch.bool) if m is None else m for m in masks])
    wanted = logits.masked_fill(~allowed, -math.inf)
    plain_ids, plain_logprobs = draw_limited_plain(wanted, uniform, limits)
    ids, logprobs = draw_limited(logits, uniform, limits, masks, drop=True)
    assert torch.equal(ids, plain_ids)
    assert torch.allclose(logprobs, plain_logprobs, atol=2e-5)
    assert torch.equal(logits, keep_plain(wanted, limits))


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-39, 1e-38, 1e-5, 1.0, 1e300])
@pytest.mark.parametrize(("top_k", "top_p", "min_p"), [(0, 0.95, 0.0), (2**64, 1.0, 1.0), (3, 1e-9, 5e-324)])
def test_no_number_breaks_the_draw(temperature, top_k, top_p, min_p):
    logits = logits_of(4, 600)
    limits = Limits([temperature] * 4, [top_k] * 4, [top_p] * 4, [min_p] * 4)
    ids, _ = draw_limited(logits.clone(), uniform_of(4), limits, [None] * 4)
    assert ((ids >= 0) & (ids < 600)).all()
    if temperature in (0.0, 1e-39, 1e-38):
        assert torch.equal(ids, logits.argmax(-1))


def test_without_limits_it_is_the_plain_sampler():
    logits, uniform = logits_of(64, 1000), uniform_of(64)
    for temperature in (0.0, 0.6, 1.0):
        limits = Limits([temperature] * 64, [0] * 64, [1.0] * 64, [0.0] * 64)
        ids, logprobs = draw_limited(logits.clone(), uniform, limits, [None] * 64)
        plain_ids, plain_logprobs = sample_plain(logits, uniform, temperature)
        assert torch.equal(ids, plain_ids)
        assert torch.allclose(logprobs, plain_logprobs, atol=1e-5)


def kept(logits: torch.Tensor, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0) -> list[int]:
    """What can be drawn of one row."""
    own = logits.clone()
    draw_limited(
        own,
        torch.zeros(1, dtype=torch.float64),
        Limits([temperature], [top_k], [top_p], [min_p]),
        [None],
        True,
    )
    return torch.isfinite(own)[0].nonzero()[:, 0].tolist()


def test_what_is_kept():
    logits = torch.tensor([[0.0, math.log(5), math.log(3), math.log(1)]])  # 1, 5, 3, 1 of 10
    assert kept(logits, top_p=0.5) == [1]  # its mass reaches 0.5 exactly
    assert kept(logits, top_p=0.51) == [1, 2]
    assert kept(logits, top_p=0.85) == [0, 1, 2]  # equal ones: the first
    assert kept(logits, top_p=1e-9) == [1]
    assert kept(logits, top_k=2) == [1, 2]
    assert kept(logits, top_k=3) == [0, 1, 2, 3]  # all that are equal to the third
    assert kept(logits, top_p=0.6, top_k=2) == [1]  # of the two that are left: 5 / 8
    assert kept(logits, top_k=99) == [0, 1, 2, 3]
    assert kept(logits, 0.25, top_p=0.6) == [1]  # 625 of 708
    assert kept(logits, min_p=0.2) == [0, 1, 2, 3]  # 1 is a fifth of 5
    assert kept(logits, min_p=0.21) == [1, 2]
    assert kept(logits, min_p=1.0) == [1]
    assert kept(logits, 0.5, min_p=0.3) == [1, 2]  # 9 of 25, at the temperature
    assert kept(logits, 0.5, min_p=0.4) == [1]
    assert kept(logits, top_p=0.85, min_p=0.21) == [1, 2]  # 5 / 8 is not enough after min_p
    assert kept(logits, 0.0, top_p=0.55) == [1, 2]  # greedy: at temperature 1


def test_equal_logits_keep_as_many_as_the_mass_needs():
    for count in (4, 300, 1000):
        found = kept(torch.zeros(1, count), top_p=0.5)
        assert found == list(range(count // 2))


def test_the_ends_of_the_range_give_the_first_and_the_last_that_is_kept():
    logits = logits_of(1, 2000)
    inside = kept(logits, top_k=30, top_p=0.9)
    assert 1 < len(inside) <= 30
    for uniform, token in ((0.0, inside[0]), (ALMOST_ONE, inside[-1])):
        draw = torch.tensor([uniform], dtype=torch.float64)
        ids, logprobs = draw_limited(logits.clone(), draw, Limits([1.0], [30], [0.9], [0.0]), [None])
        assert ids.item() == token
        assert torch.isfinite(logprobs).all()


def test_the_draws_follow_the_distribution_that_is_left():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5]]).expand(20000, -1).contiguous()
    limits = Limits([0.7] * 20000, [4] * 20000, [0.95] * 20000, [0.0] * 20000)
    left = keep_plain(logits[:1], Limits([0.7], [4], [0.95], [0.0]))[0]
    expected = (left / 0.7).softmax(-1) * 20000
    counts = draw_limited(logits, uniform_of(20000), limits, [None] * 20000)[0].bincount(minlength=5)
    assert counts[3] == 0
    inside = expected > 0
    chi_square = ((counts - expected)[inside] ** 2 / expected[inside]).sum().item()
    assert inside.sum() == 3
    assert chi_square < 13.8  # 2 degrees of freedom, p = 0.001


def test_a_row_does_not_depend_on_its_neighbours():
    logits, uniform, limits = logits_of(40, 5001), uniform_of(40), limits_of(40, 5001, 2)
    ids, logprobs = draw_limited(logits.clone(), uniform, limits, [None] * 40)
    for row in range(40):
        own = Limits(
            *([values[row]] for values in (limits.temperature, limits.top_k, limits.top_p, limits.min_p))
        )
        one, likely = draw_limited(logits[row : row + 1].clone(), uniform[row : row + 1], own, [None])
        assert one.item() == ids[row].item()
        assert likely.item() == logprobs[row].item()


@pytest.mark.parametrize("limit", [(0, 1.0, 0.0), (5, 1.0, 0.0), (0, 0.9, 0.0), (0, 1.0, 0.1)])
def test_what_is_no_number_has_no_logprob(limit):
    logits = logits_of(3, 700)
    logits[1, 650] = math.nan
    top_k, top_p, min_p = ([value] * 3 for value in limit)
    _, logprobs = draw_limited(
        logits, uniform_of(3), Limits([0.0, 1.0, 1.0], top_k, top_p, min_p), [None] * 3
    )
    assert torch.isnan(logprobs).tolist() == [False, True, False]
