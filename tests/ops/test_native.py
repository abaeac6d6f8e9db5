"""The kernels against the plain versions: values and gradients, odd sizes, both dtypes."""

import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from shoestring.ops.attend import (
    attention_plain,
    causal_attention,
)
from shoestring.ops.head import (
    softmax_gradient_,
    softmax_gradient_plain_,
    target_logprobs,
    target_logprobs_plain,
)
from shoestring.ops.native import Absent, Library, build, find_library
from shoestring.ops.norm import add_rms_norm, rms_norm, rms_norm_plain
from shoestring.ops.rotary import apply_rope, apply_rope_plain, split_rope
from shoestring.ops.sample import sample, sample_plain
from shoestring.ops.swiglu import silu_mul, silu_mul_plain

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
DTYPES = [torch.float32, torch.bfloat16]
INF = math.inf


@pytest.fixture(scope="module", autouse=True)
def library() -> Library:
    found = find_library()
    assert isinstance(found, Library), found
    return found


def random(*shape: int, dtype=torch.float32, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def close(actual: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype, scale: float = 1.0) -> None:
    """Within float32 rounding, or within one bf16 step of what was computed in float32."""
    bound = 2e-6 * scale if dtype == torch.float32 else 2.0**-8
    gap = (actual.float() - wanted.float()).abs()
    assert bool((gap <= bound * wanted.float().abs() + 2e-6 * scale).all()), gap.max()


def gradients(function, *leaves: torch.Tensor, seed: int = 5) -> tuple[list, list]:
    """(outputs, gradients) for a fixed random gradient of each output."""
    leaves = tuple(t.detach().clone().requires_grad_() for t in leaves)
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    pulls = [random(*o.shape, dtype=torch.bfloat16, seed=seed + i).to(o.dtype) for i, o in enumerate(outputs)]
    torch.autograd.backward(outputs, pulls)
    return [o.detach() for o in outputs], [t.grad for t in leaves]


def same(native, plain, *leaves: torch.Tensor, scale: float = 1.0) -> None:
    """Values and gradients of `native` equal those of `plain` computed in float32."""
    found, found_grads = gradients(native, *leaves)
    wanted, wanted_grads = gradients(plain, *(t.float() for t in leaves))
    for a, b in zip(found + found_grads, wanted + wanted_grads, strict=True):
        close(a, b, a.dtype, scale)
    with torch.no_grad():  # the path without a graph is another one
        again = native(*leaves)
    for a, b in zip(again if isinstance(again, tuple) else (again,), found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (3, 8), (70, 576), (5, 3, 24)])
def test_rms_norm(dtype, shape):
    x, weight = random(*shape, dtype=dtype), random(shape[-1], dtype=dtype, seed=1)
    plain = lambda x, w: rms_norm_plain(x, w, 1e-5)  # noqa: E731
    same(lambda x, w: rms_norm(x, w, 1e-5), plain, x, weight, scale=50)
    same(lambda x, w: rms_norm(x, w, 1e-5), plain, x.float() * 1e6, weight, scale=50)
    assert rms_norm(x.float(), weight, 1e-5).dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 5), (70, 576)])
def test_add_rms_norm(dtype, shape):
    x, delta, weight = (
        random(*shape),
        random(*shape, dtype=dtype, seed=2),
        random(shape[1], dtype=dtype, seed=1),
    )

    def plain(x, delta, weight):
        return x + delta, rms_norm_plain(x + delta, weight, 1e-5)

    same(lambda x, d, w: add_rms_norm(x, d, w, 1e-5), plain, x, delta, weight, scale=50)
    # where nothing uses the sum its gradient is none
    same(
        lambda x, d, w: add_rms_norm(x, d, w, 1e-5)[1],
        lambda x, d, w: plain(x, d, w)[1],
        x,
        delta,
        weight,
        scale=50,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "size"), [(1, 1), (1, 19), (33, 1536), (7, 40)])
def test_silu_mul(dtype, rows, size):
    same(silu_mul, silu_mul_plain, random(rows, 2 * size, dtype=dtype, scale=4), scale=5)
    far = torch.tensor([[200.0, -200.0, 1.0, 1.0]])
    assert torch.equal(silu_mul(far), torch.tensor([[200.0, 0.0]])) or silu_mul(far)[0, 1].abs() < 1e-30


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "heads", "kv_heads", "dim"), [(1, 1, 1, 2), (5, 9, 3, 64), (3, 4, 2, 10)])
def test_rope(dtype, rows, heads, kv_heads, dim):
    angles = random(rows, 1, dim // 2, seed=3, scale=10)
    cos, sin = angles.cos(), angles.sin()
    qkv = random(rows, heads + 2 * kv_heads, dim, dtype=dtype)

    def plain(qkv):
        q, k, v = qkv.split((heads, kv_heads, kv_heads), dim=1)
        return apply_rope_plain(q, cos, sin), apply_rope_plain(k, cos, sin), v

    same(lambda x: split_rope(x, heads, kv_heads, cos, sin), plain, qkv, scale=5)
    same(lambda x: apply_rope(x, cos, sin), lambda x: apply_rope_plain(x, cos, sin), qkv, scale=5)
    strided = qkv[:, 1:]  # a view with gaps
    same(lambda x: apply_rope(x, cos, sin), lambda x: apply_rope_plain(x, cos, sin), strided, scale=5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "vocab"), [(1, 3), (4, 257), (3, 49152), (9, 1000)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_head(dtype, rows, vocab, temperature):
    logits = random(rows, vocab, dtype=dtype, scale=6)
    logits[0, 0] = -INF
    targets = torch.arange(rows) * 7919 % (vocab - 1) + 1
    chosen, normalizer = target_logprobs(logits, targets, temperature)
    wanted, wanted_normalizer = target_logprobs_plain(logits, targets, temperature)
    torch.testing.assert_close(chosen, wanted, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(normalizer, wanted_normalizer, atol=1e-5, rtol=1e-6)
    slope = random(rows, seed=4)
    expected, out = torch.empty(rows, vocab), torch.full_like(logits, 9.0)
    softmax_gradient_plain_(logits.float(), normalizer, targets, slope, temperature, expected)
    softmax_gradient_(logits, normalizer, targets, slope, temperature, out)
    close(out, expected, dtype, scale=20)
    softmax_gradient_(logits, normalizer, targets, slope, temperature, logits)
    assert torch.equal(logits, out)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocab", [3, 256, 1000, 5000])
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_sample(dtype, vocab, temperature):
    logits = random(64, vocab, dtype=dtype, scale=3)
    logits[:, : vocab // 3] = -INF  # as a mask leaves it
    uniform = torch.from_numpy(np.random.default_rng(0).random(64))
    uniform[0], uniform[1] = 0.0, 0.9999
    ids, logprobs = sample(logits, uniform, temperature)
    wanted, wanted_logprobs = sample_plain(logits, uniform, temperature)
    assert torch.equal(ids, wanted)
    torch.testing.assert_close(logprobs, wanted_logprobs, atol=1e-5, rtol=1e-6)


def test_sample_follows_the_distribution():
    logits = torch.tensor([0.0, 1.0, 2.0, -INF, 0.5]).expand(20000, 5).contiguous()
    uniform = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    shares = torch.bincount(sample(logits, uniform, 1.0)[0], minlength=5) / 20000
    torch.testing.assert_close(shares, logits[0].softmax(-1), atol=1e-4, rtol=0)


def test_the_last_of_the_mass_is_a_token_that_has_some():
    logits = random(8, 700, scale=3)
    logits[:, 650:] = -INF
    logits[:, :40] = -INF
    ids, logprobs = sample(logits, torch.full((8,), 1 - 2.0**-53, dtype=torch.float64), 1.0)
    assert bool((ids < 650).all())
    assert bool((ids > 500).all())
    assert bool(torch.isfinite(logprobs).all())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, INF])
def test_what_is_not_finite_is_not_hidden(temperature, bad):
    logits = random(2, 600)
    logits[1, 300] = bad
    _, logprobs = sample(logits, torch.tensor([0.5, 0.5], dtype=torch.float64), temperature)
    assert torch.isfinite(logprobs[0])
    assert torch.isnan(logprobs[1])
    assert torch.isnan(target_logprobs(logits, torch.tensor([1, 1]), 1.0)[0]).tolist() == [False, True]


def test_the_first_of_equal_logits_is_greedy():
    logits = torch.zeros(2, 700)
    logits[1, [40, 650]] = 3.0
    assert sample(logits, torch.zeros(2, dtype=torch.float64), 0.0)[0].tolist() == [0, 40]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "length", "heads", "kv_heads"), [(1, 1, 1, 1), (3, 33, 6, 2), (2, 7, 9, 3)])
def test_causal_attention(dtype, rows, length, heads, kv_heads):
    visible = torch.ones(rows, length, length, dtype=torch.bool).tril()
    leaves = [random(rows, length, n, 8, dtype=dtype, seed=n) for n in (heads, kv_heads, kv_heads)]
    scale = leaves[0].shape[-1] ** -0.5
    found, found_grads = gradients(lambda *x: causal_attention(*x, scale), *leaves)
    wanted, wanted_grads = gradients(
        lambda q, k, v: attention_plain(q, k, v, visible, scale), *(t.float() for t in leaves)
    )
    for a, b in zip(found + found_grads, wanted + wanted_grads, strict=True):
        torch.testing.assert_close(
            a.float(),
            b,
            **({"atol": 2e-6, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.02}),
        )


def test_gradients_are_the_same_bits_whatever_the_threads():
    x, weight = random(301, 576), random(576, dtype=torch.bfloat16, seed=1)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(gradients(lambda x, w: rms_norm(x, w, 1e-5), x, weight))
    finally:
        torch.set_num_threads(before)
    for outputs, grads in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outputs + grads, found[0][0] + found[0][1], strict=True))


def test_a_switch_and_a_missing_compiler_give_the_plain_path():
    code = (
        "import torch; from shoestring.ops.native import find_library, library_for;"
        "from shoestring.ops.swiglu import silu_mul, silu_mul_plain;"
        "x = torch.arange(8.).view(1, 8); assert library_for(x) is None;"
        "assert torch.equal(silu_mul(x), silu_mul_plain(x)); print(find_library().reason)"
    )
    for extra, reason in (
        ({"SHOESTRING_NATIVE": "0"}, "switched off by SHOESTRING_NATIVE=0"),
        ({"PATH": "/nowhere"}, "no C++ compiler (g++ or clang++) found"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | extra, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == reason


def test_a_build_without_end_is_given_up(tmp_path, monkeypatch):
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\nsleep 60 & wait\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path))
    monkeypatch.setattr(build, "TIME_LIMIT", 0.2)
    with pytest.raises(build.BuildError, match="took over"):
        build.built_library()
    assert list((tmp_path / "native").iterdir()) == []


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", ("-no-such-flag",))
    with pytest.raises(build.BuildError, match="no-such-flag"):
        build.built_library()
    assert list((tmp_path / "native").iterdir()) == []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path / "file"))
    with pytest.raises(build.BuildError, match="can't write"):
        build.built_library()


def test_other_dtypes_and_devices_are_left_alone():
    from shoestring.ops.native import library_for

    assert library_for(torch.zeros(1, dtype=torch.float16)) is None
    assert library_for(torch.zeros(1, device="meta")) is None
    assert isinstance(find_library(), Library | Absent)
