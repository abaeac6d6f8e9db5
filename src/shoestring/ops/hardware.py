"""What this machine does natively. Cheap to ask: nothing is run or compiled."""

import os
import platform

import torch

BELOW_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}


def native_bf16(device: str | torch.device = "cpu") -> bool:
    """Whether bf16 products run in hardware on `device`. A CPU told to act as an older one
    (ONEDNN_MAX_CPU_ISA) counts as the older one."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    if limit in BELOW_BF16 or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # on x86 oneDNN also says yes to AVX-512 without bf16 instructions, where it converts back and forth
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return torch.cpu._is_avx512_bf16_supported() if is_x86 else True


def tile_products() -> bool:
    """Whether this processor multiplies in tiles (AMX), for which bf16 operands are laid out anew."""
    return torch.cpu._is_amx_tile_supported()
