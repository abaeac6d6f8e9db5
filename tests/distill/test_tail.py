"""The grouped divergence is a lower bound, and no further below than is said."""

import math

import pytest
import torch

from shoestring.distill.divergence import DivergenceSettings, divergence_plain
from shoestring.distill.tail import tail_bounds


def pair(seed: int, sharp: float, vocab: int = 60, rows: int = 50):
    g = torch.Generator().manual_seed(seed)
    make = lambda: (sharp * torch.randn(rows, vocab, generator=g, dtype=torch.float64)).log_softmax(-1)  # noqa: E731
    return make(), make()


def grouped(logprobs: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    rest = logprobs.scatter(1, kept, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat((logprobs.gather(1, kept), rest), 1)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("k", [1, 8, 59])
@pytest.mark.parametrize("sharp", [0.5, 3.0, 8.0])
def test_a_divergence_is_too_low_by_no_more_than_the_bound(name, k, sharp):
    settings = DivergenceSettings(name=name, beta=0.3)
    for seed in range(5):
        teacher, student = pair(seed, sharp)
        kept = teacher.topk(k).indices
        whole = divergence_plain(student, teacher, settings)
        gap = whole - divergence_plain(grouped(student, kept), grouped(teacher, kept), settings)
        bound = getattr(tail_bounds(teacher, kept, student, beta=0.3), name)
        assert (gap >= -1e-9).all()
        assert (gap <= bound + 1e-9).all()
        if k == 59:
            assert gap.abs().max() < 1e-9  # a rest of one token hides nothing
        else:
            assert gap.max() > 1e-6


def test_the_gradient_is_off_by_twice_the_mass_at_most():
    teacher, student = pair(3, 3.0)
    kept = teacher.topk(4).indices
    whole = student.exp() - teacher.exp()
    s, t = grouped(student, kept).exp(), grouped(teacher, kept).exp()
    own = ((s - t)[:, -1:] / s[:, -1:]) * student.exp()  # the class's slope, spread as the student is
    own = own.scatter(1, kept, (s - t)[:, :-1])
    off = (own - whole).abs().sum(-1)
    bound = tail_bounds(teacher, kept).gradient
    assert (off <= bound + 1e-12).all()
    assert off.max() > 0.1 * bound.max()


def test_by_hand():
    """T = (1/2, 1/4, 1/4), one kept: the rest has mass 1/2 and is even, so log 2 + 0 - log 2 = 0 nats for a
    student whose rest is even too, and 1/2 log 2 for the reverse; m = 1/2, and H_2(1/2) = log 2."""
    teacher = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    bounds = tail_bounds(teacher, torch.tensor([[0]]))
    assert bounds.mass.item() == pytest.approx(0.5)
    assert bounds.forward_kl.item() == pytest.approx(0.0, abs=1e-6)
    assert bounds.reverse_kl.item() == pytest.approx(0.5 * math.log(2))
    assert bounds.jsd.item() == pytest.approx(0.5 * math.log(2))
    assert bounds.gradient.item() == pytest.approx(1.0)


def test_all_kept_leaves_nothing_out():
    teacher, student = pair(0, 2.0, vocab=5)
    bounds = tail_bounds(teacher, teacher.topk(5).indices, student)
    assert not bounds.mass.any()
    assert not bounds.forward_kl.any()
