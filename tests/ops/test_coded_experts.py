"""Routed experts with quantised weights: the kernel against one expert after the other."""

import shutil

import pytest
import torch

from shoestring.ops import coded_experts as ops
from shoestring.ops.coded_experts import (
    CodedExperts,
    can_code,
    coded_experts,
    coded_experts_plain,
    pack_experts,
)
from shoestring.ops.quantized import dequantize, quantize_4, quantize_8

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")

COUNT, SIZE, INNER, TOP_K = 6, 64, 96, 3
BITS = pytest.mark.parametrize("bits", [8, 4])


def experts(bits: int) -> CodedExperts:
    generator = torch.Generator().manual_seed(bits)
    groups_of = quantize_8 if bits == 8 else quantize_4
    gate_up = torch.randn(COUNT, 2 * INNER, SIZE, generator=generator) * 0.1
    down = torch.randn(COUNT, SIZE, INNER, generator=generator) * 0.1
    return CodedExperts(pack_experts(gate_up, groups_of), pack_experts(down, groups_of), COUNT)


def asked(tokens: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, SIZE, generator=generator).to(dtype)
    scores = torch.rand(tokens, COUNT, generator=generator)
    scores[:, 1] = -1  # nobody's
    weights, ids = scores.topk(TOP_K, dim=-1)
    return x, ids, weights


@BITS
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("tokens", [1, 2, 7, 40, 300])
def test_it_is_one_expert_after_the_other(bits: int, dtype: torch.dtype, close: float, tokens: int) -> None:
    given, e = asked(tokens, dtype), experts(bits)
    found, wanted = coded_experts(*given, e), coded_experts_plain(*given, e)
    assert found.dtype == dtype
    # what goes into the second product is rounded to 8 bits: a number between two may go either way
    assert (found - wanted).norm() <= max(close, 2e-3) * wanted.norm()


@BITS
def test_a_tokens_bits_are_its_own(bits: int) -> None:
    (x, ids, weights), e = asked(40, torch.bfloat16), experts(bits)
    together = coded_experts(x, ids, weights, e)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(coded_experts(x, ids, weights, e), together)
    finally:
        torch.set_num_threads(before)
    for t in (0, 17, 39):
        own = slice(t, t + 1)
        assert torch.equal(coded_experts(x[own], ids[own], weights[own], e), together[own])


@BITS
def test_without_kernels_it_is_the_plain_one(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given, e = asked(9, torch.float32), experts(bits)
    monkeypatch.setattr(ops, "library_for", lambda *_: None)
    assert torch.equal(coded_experts(*given, e), coded_experts_plain(*given, e))


@BITS
def test_a_part_stands_for_its_rows(bits: int) -> None:
    e = experts(bits)
    whole = dequantize(e.gate_up)
    part = dequantize(e.gate_up.part(2 * INNER * 3, 2 * INNER))
    assert torch.equal(part, whole[2 * INNER * 3 : 2 * INNER * 4])


def test_what_has_no_whole_groups_or_panels_is_left() -> None:
    assert can_code(torch.empty(2, 48, 32))
    assert not can_code(torch.empty(2, 48, 40))
    assert not can_code(torch.empty(2, 40, 32))
