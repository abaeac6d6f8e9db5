"""The product with the vocabulary in float32, and drawing from it, against the plain versions in float64."""

import math
import shutil

import pytest
import torch

from shoestring.ops.head import Head, head_logits_plain
from shoestring.ops.native import Library, build, find_library
from shoestring.ops.sample import sample_plain

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")


@pytest.fixture(params=["as built", "without tiles"])
def library(request, tmp_path_factory, monkeypatch) -> Library:
    """This machine's kernels, and those of one whose processor has bf16 products but no tiles."""
    found = find_library()
    assert isinstance(found, Library), found
    if not found.product_depth:
        pytest.skip("this processor has no bf16 products")
    if request.param == "without tiles":
        monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-U__AMX_TILE__"))
        found = Library(build.built_library())
        monkeypatch.setattr("shoestring.ops.head.library_for", lambda *tensors: found)
    return found


def matrices(rows: int, words: int, depth: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, depth, generator=generator)
    weight = torch.randn(words, depth, generator=generator) * (3 / math.sqrt(depth))
    return hidden.bfloat16(), weight.bfloat16()


@pytest.mark.parametrize(
    ("rows", "words", "depth"), [(1, 7, 32), (33, 257, 64), (70, 1000, 576), (2, 512, 32)]
)
def test_logits_are_float32_sums(library, rows, words, depth):
    hidden, weight = matrices(rows, words, depth)
    logits = Head().logits(hidden, weight)
    wanted = hidden.double() @ weight.double().t()
    assert logits.dtype == torch.float32
    assert logits.shape == (rows, words)
    torch.testing.assert_close(logits.double(), wanted, atol=2e-5, rtol=1e-5)
    rounded = (head_logits_plain(hidden, weight).double() - wanted).abs().max()
    assert (logits.double() - wanted).abs().max() < rounded / 20  # what it is for


@pytest.mark.parametrize(
    ("rows", "words", "depth"), [(1, 7, 32), (33, 257, 64), (70, 1000, 576), (3, 512, 32)]
)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_draws_are_those_of_the_plain_logits(library, rows, words, depth, temperature):
    hidden, weight = matrices(rows, words, depth, seed=1)
    uniform = torch.rand(rows, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ids, logprobs = Head().draw(hidden, weight, uniform, temperature)
    logits = hidden.double() @ weight.double().t()
    wanted_ids, _ = sample_plain(logits, uniform, temperature)
    assert torch.equal(ids, wanted_ids)
    scaled = logits / (temperature or 1.0)
    wanted = scaled.log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    torch.testing.assert_close(logprobs.double(), wanted, atol=2e-5, rtol=1e-5)


def test_a_draw_at_either_end_is_a_token_that_has_weight(library):
    hidden, weight = matrices(2, 600, 64, seed=3)
    weight[:40] = weight[-40:] = 0
    hidden[:, :1], weight[:, :1] = 60.0, 1.0  # the first and the last words fall far below the others
    weight[:40, :1] = weight[-40:, :1] = -20.0
    uniform = torch.tensor([0.0, math.nextafter(1.0, 0.0)], dtype=torch.float64)
    ids, logprobs = Head().draw(hidden, weight, uniform, 1.0)
    assert int(ids[0]) >= 40
    assert int(ids[1]) < 560
    assert torch.isfinite(logprobs).all()


def test_a_weight_that_is_not_finite_shows_in_the_logprob(library):
    hidden, weight = matrices(2, 300, 32)
    hidden[1, 0] = float("nan")
    ids, logprobs = Head().draw(hidden, weight, torch.tensor([0.5, 0.5]), 1.0)
    assert math.isfinite(logprobs[0])
    assert math.isnan(logprobs[1])
    assert 0 <= int(ids[1]) < 300


def test_a_changed_weight_is_packed_again(library):
    hidden, weight = matrices(3, 64, 32)
    head = Head()
    before = head.logits(hidden, weight)
    weight.detach()[5] += 1.0
    after = head.logits(hidden, weight)
    assert not torch.equal(before[:, 5], after[:, 5])
    assert torch.equal(before[:, :5], after[:, :5])


def test_sizes_that_the_kernel_does_not_take_and_learning_go_the_plain_way():
    hidden, weight = matrices(3, 50, 40)
    torch.testing.assert_close(Head().logits(hidden, weight), head_logits_plain(hidden, weight))
    hidden, weight = matrices(3, 50, 64)
    weight.requires_grad_()
    Head().logits(hidden, weight).sum().backward()
    assert weight.grad is not None
