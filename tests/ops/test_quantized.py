"""Whole numbers under scales: what they stand for, and products with them against the plain version."""

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from shoestring.ops import quantized
from shoestring.ops.native import Library, build, find_library
from shoestring.ops.quantized import (
    SIZE,
    Groups,
    Quantized,
    dequantize,
    matrix_words,
    pack,
    quantize_4,
    quantize_8,
    quantized_linear,
    quantized_linear_plain,
    quantized_logits,
    quantized_rows,
    quantized_rows_plain,
    round_rows,
)

QUANTIZE = {8: quantize_8, 4: quantize_4}
needs_kernels = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
ARM, EMULATOR = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
BOTH = pytest.mark.parametrize("bits", [8, 4])


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def matrix(bits: int, rows: int = 37, depth: int = 160, seed: int = 1) -> Quantized:
    return pack(QUANTIZE[bits](random(rows, depth, seed=seed) * 0.1))


def stand_for(groups: Groups) -> torch.Tensor:
    wide = groups.numbers.float() * groups.scales.float().repeat_interleave(SIZE, 1)
    return wide if groups.mins is None else wide + groups.mins.float().repeat_interleave(SIZE, 1)


@BOTH
@pytest.mark.parametrize("rows", [1, 16, 37])
def test_packing_loses_nothing(bits: int, rows: int) -> None:
    groups = QUANTIZE[bits](random(rows, 96))
    packed = pack(groups)
    assert torch.equal(dequantize(packed), stand_for(groups))
    assert packed.bits == bits
    assert (packed.rows, packed.depth) == (rows, 96)


@BOTH
def test_embedding_rows_are_the_matrix_rows(bits: int) -> None:
    packed, ids = matrix(bits), torch.tensor([36, 0, 17, 17])
    assert torch.equal(quantized_rows_plain(packed, ids, torch.float32), dequantize(packed)[ids])
    assert torch.equal(quantized_rows(packed, ids, torch.float32), dequantize(packed)[ids])
    assert torch.equal(quantized_rows(packed, ids, torch.bfloat16), dequantize(packed)[ids].bfloat16())


def test_eight_bits_are_off_by_half_a_step_at_most() -> None:
    weight = random(50, 128)
    groups = quantize_8(weight)
    step = groups.scales.float().repeat_interleave(SIZE, 1)
    # the scale is rounded to float16, by which the largest of a group may lie past the last number
    assert bool(((stand_for(groups) - weight).abs() <= step * (0.5 + 127 * 2.0**-11)).all())
    assert groups.numbers.abs().max() <= 127


def test_four_bits_are_better_than_the_plain_range() -> None:
    weight = random(200, 256)
    groups = quantize_4(weight)
    assert groups.numbers.min() >= 0
    assert groups.numbers.max() <= 15
    grouped = weight.unflatten(1, (-1, SIZE))
    low, high = grouped.amin(-1, keepdim=True), grouped.amax(-1, keepdim=True)
    step = (high - low) / 15
    naive = ((grouped - low) / step).round() * step + low
    found = (stand_for(groups) - weight).square().mean()
    assert found < 0.93 * (naive.flatten(1) - weight).square().mean()


@BOTH
def test_a_group_of_equal_numbers(bits: int) -> None:
    for value in (0.0, 0.25):
        weight = torch.full((16, 64), value)
        torch.testing.assert_close(stand_for(QUANTIZE[bits](weight)), weight, rtol=1e-3, atol=0)


def test_rounded_rows_are_off_by_half_a_step() -> None:
    x = random(7, 96)
    step = x.unflatten(1, (-1, SIZE)).abs().amax(-1) / 127
    assert bool(((round_rows(x) - x).abs() <= step.repeat_interleave(SIZE, 1) * 0.501).all())


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Within float32 rounding of the sum, or one step of bf16."""
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    bound = 2e-6 if found.dtype == torch.float32 else 2.0**-7
    torch.testing.assert_close(found, wanted, rtol=bound, atol=1e-5 * float(wanted.abs().max()))


@needs_kernels
@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 16, 45, 300])
def test_products(bits: int, dtype: torch.dtype, tokens: int) -> None:
    x, m = random(tokens, 160, dtype=dtype), matrix(bits)
    for bias in (None, random(37, dtype=dtype, seed=2)):
        found = quantized_linear(x, m, bias)
        close(found, quantized_linear_plain(x, m, bias))
        whole = F.linear(x.float(), dequantize(m), None if bias is None else bias.float())
        assert (found.float() - whole).abs().max() < 0.02 * whole.abs().max()


@needs_kernels
@BOTH
def test_a_row_is_the_same_whatever_stands_beside_it(bits: int) -> None:
    """One row goes through the vector instruction, some hundred through tiles where there are any."""
    x, m = random(300, 1536, dtype=torch.bfloat16), matrix(bits, rows=200, depth=1536)
    together = quantized_linear(x, m, None)
    for part in (1, 2, 3, 5, 8, 16, 17):
        assert torch.equal(quantized_linear(x[:part], m, None), together[:part])
    assert torch.equal(quantized_logits(x[:1], m), quantized_logits(x, m)[:1])


@needs_kernels
@BOTH
def test_threads_change_nothing(bits: int) -> None:
    x, m = random(40, 512), matrix(bits, rows=800, depth=512)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(quantized_linear(x, m, None))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@BOTH
@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_kernels), False])
def test_what_is_no_number_stays_none(bits: int, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(quantized, "library_for", lambda *_: None)
    for tokens in (3, 20):
        x = random(tokens, 160)
        x[1, 70] = float("nan")
        x[2, 3] = float("inf")
        made = quantized_linear(x, matrix(bits), None)
        assert not torch.isfinite(made[1:3]).any()
        assert torch.isfinite(made[[0, *range(3, tokens)]]).all()


@needs_kernels
@BOTH
def test_logits_are_float32(bits: int) -> None:
    x, m = random(2, 3, 160, dtype=torch.bfloat16), matrix(bits)
    found = quantized_logits(x, m)
    assert found.dtype == torch.float32
    assert found.shape == (2, 3, 37)
    torch.testing.assert_close(found, F.linear(x.float(), dequantize(m)), rtol=0.05, atol=0.02)


def test_numbers_of_zero_are_zero() -> None:
    assert quantized_linear(torch.zeros(2, 160), matrix(8), None).abs().max() == 0


@pytest.mark.slow
@needs_kernels
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86 processors")
@BOTH
@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
def test_other_processors_code_gives_the_same(bits: int, processor: str, tmp_path) -> None:
    """The versions that this machine's own library may leave out: AVX2, and loops without any of it."""
    target = tmp_path / "other.so"
    flags = [f for f in build.FLAGS if not f.startswith("-march")]
    names = [str(build.SOURCES / name) for name in ("quantized.cpp", "pointwise.cpp")]
    subprocess.run(["g++", *flags, f"-march={processor}", *names, "-o", str(target)], check=True)
    other = ctypes.CDLL(str(target))
    assert other["coded_kind"]() == (1 if processor == "haswell" else 0)
    x, m = random(21, 160), matrix(bits)
    words = torch.tensor(matrix_words(m, None), dtype=torch.int64)
    made = torch.empty(21, 37)
    address = ctypes.c_void_p
    other["coded_linear_f32"](
        address(x.data_ptr()), address(words.data_ptr()), address(made.data_ptr()), ctypes.c_int64(21), 1
    )
    close(made, quantized_linear(x, m, None))


@pytest.mark.slow
@pytest.mark.skipif(ARM is None or EMULATOR is None, reason="needs g++ for aarch64 and qemu-user")
@BOTH
def test_an_arm_processors_code_gives_the_same(bits: int, tmp_path: Path) -> None:
    """Under an emulator: what a processor with NEON computes, and not how fast."""
    x, m = random(21, 160), matrix(bits)
    given = torch.tensor([21, 160, 37, bits, m.mins is not None]).numpy().tobytes()
    given += b"".join(
        t.contiguous().numpy().tobytes() for t in (x, m.values, m.scales, m.mins) if t is not None
    )
    flags = [f for f in build.FLAGS if f not in ("-march=native", "-shared")]
    sources = [str(Path(__file__).with_name("coded_elsewhere.cpp")), str(build.SOURCES / "pointwise.cpp")]
    target = str(tmp_path / "elsewhere")
    assert ARM is not None
    assert EMULATOR is not None
    own = ["-march=armv8-a", f"-I{build.SOURCES}", "-static"]
    subprocess.run([ARM, *flags, *own, *sources, "-o", target], check=True)
    ran = subprocess.run([EMULATOR, target], input=given, capture_output=True, check=True)
    assert ran.stderr == b"0\n"  # loops that the compiler makes vectors of
    made = torch.frombuffer(bytearray(ran.stdout), dtype=torch.float32).view(21, 37)
    close(made, quantized_linear(x, m, None))


def test_the_library_says_how_it_multiplies() -> None:
    found = find_library()
    if isinstance(found, Library):
        assert found.coded_kind in ("plain loops", "AVX2", "AVX-512 VNNI", "AVX-512 VNNI and AMX")
