import io

import pytest
import torch
from rich.console import Console

from shoestring.jobs import doctor as job
from shoestring.jobs.doctor import DoctorSettings, main, matmul_gflops
from shoestring.ops.native import Absent, Library, find_library

find_library()  # compiled before a test gives it another home


def doctor() -> tuple[dict, str]:
    out = io.StringIO()
    return main(DoctorSettings(probe_size=64), Console(file=out, soft_wrap=True)), out.getvalue()


def test_a_missing_base_is_named_with_the_command_that_fetches_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path))
    monkeypatch.setattr("shoestring.jobs.doctor.EXTRAS", {"gym": "no_such_module"})
    values, text = doctor()
    assert values["command"] == "pip install 'shoestring[gym]' && shoestring get smollm2-135m"
    assert f"to add what is missing: {values['command']}" in text
    assert "! base smollm2-135m  not here" in text
    assert values["findings"]["torch"] == torch.__version__


@pytest.mark.base
def test_nothing_is_missing_where_all_is_there(monkeypatch):
    monkeypatch.setattr("shoestring.jobs.doctor.EXTRAS", {"dev": "pytest"})
    values, text = doctor()
    assert values["command"] == ""
    assert "nothing is missing" in text


def test_the_probe_counts_two_operations_a_multiply(monkeypatch):
    ticks = iter([0.0, 0.1, 0.2, 0.5])
    monkeypatch.setattr("shoestring.jobs.doctor.time.perf_counter", lambda: next(ticks))
    assert matmul_gflops(10, torch.float32, seconds=0.4) == pytest.approx(2 * 10**3 * 2 / 0.5 / 1e9)


def test_what_is_lost_without_a_compiler(monkeypatch):
    monkeypatch.setattr(job, "find_library", lambda: Absent("no C++ compiler (g++ or clang++) found"))
    monkeypatch.setattr("shoestring.jobs.doctor.shutil.which", lambda name: name if name == "dnf" else None)
    (finding,) = job.kernels()
    assert "none (no C++ compiler (g++ or clang++) found)" in finding.value
    assert "plain torch does the same, slower" in finding.value
    assert finding.fix == "sudo dnf install gcc-c++"
    monkeypatch.setattr("shoestring.jobs.doctor.shutil.which", lambda name: None)
    assert job.kernels()[0].fix == ""
    monkeypatch.setattr(job, "find_library", lambda: Absent("switched off by SHOESTRING_NATIVE=0"))
    assert job.kernels()[0].fix == ""


def test_the_kernels_in_use_are_named():
    found = find_library()
    text = " ".join(finding.value for finding in job.kernels())
    assert (found.coded_kind in text) if isinstance(found, Library) else "none" in text


def test_what_only_some_clusters_need_is_told_and_no_fault(monkeypatch) -> None:
    there = ("ray job submit", "pytest", "for jobs", "pip y")
    lacking = ("vLLM", "no_such_module", "for rollouts", "pip x")
    monkeypatch.setattr("shoestring.jobs.doctor.FOR_CLUSTERS", (there, lacking))
    values, text = doctor()
    assert values["findings"]["ray job submit"] == "installed"
    assert values["findings"]["vLLM"] == "not installed; for rollouts (pip x)"
    assert "pip x" not in values["command"]
    assert "  vLLM" in text
