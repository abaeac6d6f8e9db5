import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shoestring.ops.hardware import native_bf16


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize("isa", ["AVX2", "avx2", "AVX512_CORE", "SSE41"])
def test_a_cpu_told_to_be_older_has_no_bf16(name, isa, monkeypatch):
    monkeypatch.setenv(name, isa)
    assert not native_bf16("cpu")


def test_it_agrees_with_the_processor(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    if "flags" not in flags:
        pytest.skip("no x86 flags to compare with")
    assert native_bf16() == native_bf16(torch.device("cpu")) == ("avx512_bf16" in flags)


def test_devices_without_an_answer_say_no():
    assert not native_bf16("meta")


@pytest.mark.slow
def test_a_fresh_process_with_the_limit_set():
    code = "from shoestring.ops.hardware import native_bf16; print(native_bf16())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


@pytest.mark.cuda
def test_cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert native_bf16("cuda") == (torch.cuda.get_device_capability() >= (8, 0))
