"""The compiled kernels as typed calls. Each takes contiguous CPU tensors; the caller has checked shapes."""

import ctypes
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shoestring.ops.native.build import BuildError, built_library

_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16"}
_P, _N, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_COMMON = {  # arguments before the number of threads, which every kernel takes last
    "silu_mul_forward": [_P] * 2 + [_N] * 2,
    "silu_mul_backward": [_P] * 3 + [_N] * 2,
    "rotate": [_P, _N, _P, _N, _P, _P, _F, _N, _N, _N],
    "target_logprobs": [_P] * 4 + [_N] * 2 + [_F],
    "sample": [_P] * 4 + [_N] * 2 + [_F],
    "decode": [_P] * 10 + [_N] * 5 + [_F, _P],
    "keep": [_P] * 7 + [_N] * 4,
    "attend_forward": [_P] * 8 + [_N] * 6 + [_F],
    "attend_backward": [_P] * 12 + [_N] * 6 + [_F],
    "latent_heads": [_P] * 3 + [_N] + [_P] * 5 + [_N] * 6,
    "latent_heads_backward": [_P] * 8 + [_N] * 6,
    "latent_decode": [_P] * 13 + [_N] * 11 + [_F] * 2,
    "few_experts": [_P] * 8 + [_N] * 6,
    "few_linear": [_P] * 4 + [_N] * 3,
    "few_routes": [_P] * 5 + [_N] * 9 + [_F],
    "coded_linear": [_P] * 3 + [_N],
    "coded_logits": [_P] * 3 + [_N],
    "coded_rows": [_P] * 3 + [_N],
    "coded_experts": [_P] * 6 + [_N] * 3,
    "block_inputs": [_P] * 9 + [_N],
    "block_outputs": [_P] * 5 + [_N],
    "block_layers": [_P] * 7 + [_N] * 2,
    "combine_rows": [_P] * 4 + [_N] * 3,
    "spread_rows": [_P] * 6 + [_N] * 3,
    "adamw": [_P] * 5 + [_N] + [_F] * 8,
    "add_into": [_P] * 2 + [_N],
    "fp8_rows": [_P] * 2 + [_N] * 2,
    "fp8_columns": [_P] * 2 + [_N] * 2,
    "fp8_blocks": [_P] * 2 + [_N] * 3,
}
_BF16 = {
    "pack_panels_bf16": [_P] * 2 + [_N] * 2,
    "panel_linear_bf16": [_P] * 4 + [_N] * 3,
    "latent_layers_bf16": [_P] * 9 + [_N] * 2,
    "head_logits_bf16": [_P] * 3 + [_N] * 3,
    "head_sample_bf16": [_P] * 5 + [_N] * 3 + [_F],
    "transpose_bf16": [_P] * 2 + [_N] * 2,
}
_F32 = {"draw_limited_f32": [_P] * 8 + [_N] * 3}
_PAIRED = {
    "softmax_gradient": [_P] * 5 + [_N] * 2 + [_F],
    "norm_forward": [_P] * 6 + [_N] * 2 + [_F],
    "norm_backward": [_P] * 8 + [_N] * 2,
}
_KERNELS = {f"{kind}_{name}": args for kind, args in _COMMON.items() for name in _NAMES.values()}
_KERNELS |= {f"{k}_{pair}": a for k, a in _PAIRED.items() for pair in ("f32_f32", "f32_bf16", "bf16_bf16")}
_KERNELS |= _F32
_CODED = ("plain loops", "AVX2", "AVX-512 VNNI", "AVX-512 VNNI and AMX")  # native/quantized.cpp, coded_kind
# only where the processor has bf16 products
_PRODUCTS = ("head_logits_bf16", "head_sample_bf16", "panel_linear_bf16", "latent_layers_bf16")


_Kernel = tuple[Callable[..., None], tuple[bool, ...]]  # and which of its arguments are addresses


def _key(name: str) -> tuple[str, *tuple[torch.dtype, ...]]:
    """ "norm_forward_f32_bf16" -> ("norm_forward", float32, bfloat16)."""
    dtypes, words = {short: dtype for dtype, short in _NAMES.items()}, name.split("_")
    first = next(i for i, word in enumerate(words) if word in dtypes)
    return ("_".join(words[:first]), *(dtypes[word] for word in words[first:]))


class Library:
    def __init__(self, path: Path) -> None:
        """Raises BuildError where torch's thread pool can't be shared."""
        self.path = path
        self._handle = ctypes.CDLL(str(path))
        self._functions: dict[tuple[str, *tuple[torch.dtype, ...]], _Kernel] = {}
        self.product_depth: int = self._handle["product_depth"]()
        self.coded_kind: str = _CODED[self._handle["coded_kind"]()]
        wanted = (
            _KERNELS | _F32 | {n: a for n, a in _BF16.items() if self.product_depth or n not in _PRODUCTS}
        )
        for name, args in wanted.items():
            function = self._handle[name]
            function.argtypes, function.restype = [*args, ctypes.c_int], None
            self._functions[_key(name)] = function, tuple(kind is _P for kind in args)
        # torch has loaded its OpenMP into the process: its own pool is entered, never a second one started
        process = ctypes.CDLL(None)
        names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        try:
            entries = [ctypes.cast(process[name], _P) for name in names]
        except AttributeError:
            raise BuildError("torch's OpenMP library has no GOMP entry points to share") from None
        use_pool = self._handle["use_pool"]
        use_pool.argtypes, use_pool.restype = [_P] * 3, None
        use_pool(*entries)

    def call(self, kernel: str, tensors: tuple[Tensor, ...], *args: Tensor | int | float | None) -> None:
        """Run `kernel` in the version for the dtypes of `tensors`. Tensors go by address, None as null."""
        function, addressed = self._functions[kernel, *[t.dtype for t in tensors]]
        # by the kernel's own list: asking each argument what it is took longer than a small kernel
        raw = [
            a.data_ptr() if is_address and a is not None else a  # type: ignore[union-attr]
            for a, is_address in zip(args, addressed, strict=True)
        ]
        function(*raw, torch.get_num_threads())


@dataclass(frozen=True)
class Absent:
    reason: str


@functools.cache
def find_library() -> Library | Absent:
    """The kernels, compiled on the first call on this machine (some seconds); or why there are none."""
    if os.environ.get("SHOESTRING_NATIVE") == "0":
        return Absent("switched off by SHOESTRING_NATIVE=0")
    try:
        return Library(built_library())
    except (BuildError, OSError) as error:
        return Absent(str(error))


def library_for(*tensors: Tensor) -> Library | None:
    """The kernels where they can take these tensors, else None: the caller's plain version runs."""
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.dtype not in _NAMES:
            return None
    found = find_library()
    return found if isinstance(found, Library) else None
