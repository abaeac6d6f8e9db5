"""Losses between distributions, in one chunked pass, against torch's own autograd on whole logits."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from shoestring.distill import distribution
from shoestring.distill.distribution import KeptLoss, distribution_loss, held_rows
from shoestring.distill.divergence import DivergenceSettings, distribution_loss_plain, divergence
from shoestring.distill.live import LiveTeacher, keep
from shoestring.distill.teacher_rows import KeptRows, WholeRows
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings
from shoestring.train.split import parts_within
from tiny import tiny_lm

VOCAB, WIDTH = 40, 12
SETTINGS = [
    DivergenceSettings(name="forward_kl"),
    DivergenceSettings(name="reverse_kl", temperature=0.7),
    DivergenceSettings(name="jsd", beta=0.3, temperature=2.0),
    DivergenceSettings(name="jsd", cross_entropy=0.25),
    DivergenceSettings(name="forward_kl", temperature=2.0, cross_entropy=0.5),
]


def problem(count: int, dtype: torch.dtype):
    g = torch.Generator().manual_seed(count)
    hidden = torch.randn(count, WIDTH, generator=g, dtype=dtype).requires_grad_()
    weight = torch.randn(VOCAB, WIDTH, generator=g, dtype=dtype).requires_grad_()
    teacher = 3 * torch.randn(count, VOCAB, generator=g, dtype=dtype)
    targets = torch.randint(VOCAB, (count,), generator=g)
    return hidden, weight, targets, torch.rand(count, generator=g, dtype=dtype), teacher


def kept_rows(teacher: torch.Tensor, k: int, temperature: float) -> KeptRows:
    logprobs = (teacher / temperature).log_softmax(-1)
    top = logprobs.topk(k)
    rest = logprobs.scatter(1, top.indices, -torch.inf).logsumexp(-1)
    return KeptRows(top.indices, top.values, rest)


def both(form, hidden, weight, *args):
    """Loss and gradients of a form."""
    loss = form(hidden, weight, *args)
    loss = loss[0] if isinstance(loss, tuple) else loss
    return [loss.detach(), *torch.autograd.grad(loss, (hidden, weight))]


def close(found, wanted, dtype):
    limits = {"atol": 1e-10, "rtol": 1e-9} if dtype == torch.float64 else {"atol": 3e-5, "rtol": 3e-4}
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, **limits), (one - other).abs().max()
    assert wanted[2].abs().max() > 1e-3


@pytest.fixture(params=[(256, 1024), (4, 8), (1, 1)], ids=["whole", "slabs", "single rows"])
def held(request, monkeypatch):
    chunk, slab = request.param
    monkeypatch.setattr(distribution, "held_rows", lambda _vocab: (chunk, slab))


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.name}-{s.temperature}-{s.cross_entropy}")
def test_a_live_teacher_against_autograd(settings, dtype):
    hidden, weight, targets, weights, teacher = problem(19, dtype)
    rows = WholeRows(lambda rows: teacher[rows])
    head = lambda h: F.linear(h, weight)  # noqa: E731
    found = both(distribution_loss, hidden, weight, targets, weights, rows, settings, head)
    logprobs = (teacher / settings.temperature).log_softmax(-1)
    close(
        found,
        both(distribution_loss_plain, hidden, weight, targets, weights, logprobs, settings),
        dtype,
    )


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("tail", ["class", "dropped"])
@pytest.mark.parametrize("k", [1, 5, VOCAB - 1, VOCAB])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.name}-{s.temperature}-{s.cross_entropy}")
def test_a_stored_teacher_against_autograd(settings, dtype, k, tail):
    settings = settings.model_copy(update={"tail": tail})
    hidden, weight, targets, weights, teacher = problem(19, dtype)
    kept = kept_rows(teacher, k, settings.temperature)
    head = lambda h: F.linear(h, weight)  # noqa: E731
    found = both(distribution_loss, hidden, weight, targets, weights, kept, settings, head)
    logprobs = (teacher / settings.temperature).log_softmax(-1)
    wanted = both(distribution_loss_plain, hidden, weight, targets, weights, logprobs, settings, kept.ids)
    if k == 1 and tail == "dropped" and not settings.cross_entropy:
        assert found[2].abs().max() == wanted[2].abs().max() == 0  # one class alone says nothing
        return
    close(found, wanted, dtype)


@pytest.mark.parametrize("k", [1, 8, VOCAB])
def test_a_tied_head_gets_both_gradients(k):
    """The embedding's own and the head's, of one matrix."""
    _, weight, targets, weights, teacher = problem(23, torch.float64)
    settings, ids = DivergenceSettings(name="reverse_kl"), torch.arange(23)
    kept = kept_rows(teacher, k, 1.0)
    grads = []
    for form in ("fast", "plain"):
        hidden = F.embedding(ids, weight).tanh()
        if form == "fast":
            loss, _ = distribution_loss(
                hidden, weight, targets, weights, kept, settings, lambda h: F.linear(h, weight)
            )
        else:
            logprobs = teacher.log_softmax(-1)
            loss = distribution_loss_plain(hidden, weight, targets, weights, logprobs, settings, kept.ids)
        grads.append(torch.autograd.grad(loss, weight)[0])
    assert torch.allclose(*grads, atol=1e-10)


def test_all_kept_is_the_whole():
    hidden, weight, targets, weights, teacher = problem(9, torch.float64)
    head = lambda h: F.linear(h, weight)  # noqa: E731
    for settings in SETTINGS:
        rows = kept_rows(teacher, VOCAB, settings.temperature), WholeRows(lambda rows: teacher[rows])
        found = [both(distribution_loss, hidden, weight, targets, weights, r, settings, head) for r in rows]
        close(*found, torch.float64)


def test_bf16_is_near_float32():
    hidden, weight, targets, weights, teacher = problem(64, torch.float32)
    kept, settings = kept_rows(teacher, 8, 1.0), DivergenceSettings()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        h, w = (x.detach().to(dtype).requires_grad_() for x in (hidden, weight))
        head = lambda rows, w=w: F.linear(rows, w).float()  # noqa: E731
        found.append(both(distribution_loss, h, w, targets, weights, kept, settings, head))
    for exact, rounded in zip(*found, strict=True):
        assert rounded.sub(exact).norm() < 0.03 * exact.norm()


def test_the_targets_logprobs_are_at_temperature_1():
    hidden, weight, targets, weights, teacher = problem(7, torch.float64)
    settings = DivergenceSettings(temperature=3.0)
    kept = kept_rows(teacher, 4, 3.0)
    _, logprobs = distribution_loss(
        hidden, weight, targets, weights, kept, settings, lambda h: F.linear(h, weight)
    )
    wanted = F.linear(hidden, weight).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    assert torch.allclose(logprobs, wanted)
    assert not logprobs.requires_grad


def test_by_hand():
    """T = (1/2, 1/2), S = (1/4, 3/4): KL(T || S) = 1/2 ln 2 + 1/2 ln(2/3); KL(S || T) = 1/4 ln(1/2) + 3/4
    ln(3/2); with beta 1/2 M = (3/8, 5/8)."""
    teacher, student = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    values = {
        name: divergence(student, teacher, DivergenceSettings(name=name))[0].item()
        for name in ("forward_kl", "reverse_kl", "jsd")
    }
    wanted = {"forward_kl": 0.1438410362, "reverse_kl": 0.1308120361, "jsd": 0.0338217675}
    assert values == pytest.approx(wanted, rel=1e-5)


def test_memory_doesnt_follow_the_vocabulary():
    """Logits and gradients held at once, in numbers: the same for 32 thousand tokens and for a million."""
    held = {vocab: [rows * vocab for rows in held_rows(vocab)] for vocab in (32_000, 129_280, 1_000_000)}
    for logits, gradient in held.values():
        assert logits <= distribution.LOGITS_HELD
        assert gradient <= distribution.GRADIENT_HELD


def test_a_frozen_weight_takes_no_gradient_and_the_loss_is_the_root():
    hidden, weight, targets, weights, teacher = problem(7, torch.float32)
    frozen = weight.detach()
    args = targets, weights, kept_rows(teacher, 4, 1.0), DivergenceSettings(), lambda h: F.linear(h, frozen)
    loss, _ = distribution_loss(hidden, frozen, *args)
    loss.backward()
    assert frozen.grad is None
    assert hidden.grad is not None
    loss, _ = distribution_loss(hidden, frozen, *args)
    with pytest.raises(AssertionError, match="root"):
        (2 * loss).backward()


def test_a_micro_batch_that_is_halved_is_the_same_loss():
    """As where memory ran out: the teacher's columns go with their targets."""
    lm = tiny_lm()
    texts = ["What is 2 + 3?", "It is five.", "And two more?", "Seven."]
    rows = [Rendered(lm.tokenizer.encode(t), [True] * len(lm.tokenizer.encode(t)), t) for t in texts]
    packed = pack([Family([], rows)])
    batch = MicroBatch(packed, torch.rand(len(packed.targets)))
    kept = keep(LiveTeacher(tiny_lm(1).network, torch.arange(lm.config.vocab_size)), batch, 6, 1.0)
    batch = dataclasses.replace(
        batch, teacher_ids=kept.ids, teacher_logprobs=kept.logprobs, teacher_tail=kept.tail
    )
    learner = Learner(lm, OptimSettings(), 10)
    found = []
    for parts in ([batch], parts_within(batch, 15)):
        losses = [learner.forward(part, KeptLoss(DivergenceSettings()))[0] for part in parts]
        found.append(sum(loss.item() for loss in losses))
    assert len(parts_within(batch, 15)) > 1
    assert found[1] == pytest.approx(found[0], rel=1e-5)
