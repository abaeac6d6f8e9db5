"""A server that 64 clients use and misuse, with the real engine behind it: nothing leaks, nothing is lost."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOUND = {"statuses": {"whole": {"200": 9, "503": 2}}, "empty_200": 0, "memory_mib": []}


@pytest.mark.parametrize("name", ["num_requests_running", "num_samples_running", "kv_cache_usage_perc"])
def test_what_is_left_over_is_a_fault(name: str) -> None:
    spec = importlib.util.spec_from_file_location("serve_load", ROOT / "benchmarks/serve_load.py")
    assert spec is not None
    assert spec.loader is not None
    serve_load = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = serve_load  # its dataclasses look themselves up
    spec.loader.exec_module(serve_load)
    assert serve_load.faults(SOUND | {"left_over": {name: 0.0}}) == []
    assert serve_load.faults(SOUND | {"left_over": {name: 0.01}}) == [f"{name} is 0.01"]
    cut = SOUND | {"left_over": {}, "statuses_at_the_end": {"stream": {"200": 3, "200 without an end": 1}}}
    assert serve_load.faults(cut) == ["stream: 1 times 200 without an end"]


@pytest.mark.slow
@pytest.mark.base
def test_it_holds_under_load(tmp_path: Path) -> None:
    output = tmp_path / "load.json"
    command = [
        sys.executable,
        str(ROOT / "benchmarks/serve_load.py"),
        "--seconds",
        "45",
        "--cache-gib",
        "0.1",
    ]
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(output.read_text())
    assert found["clients"] == 64
    assert found["faults"] == []
    assert found["exit_code"] == 0
    # all kinds of clients were there, and were served
    assert {"whole", "stream", "leave", "read_slowly", "send_nonsense", "send_too_much"} <= {
        *found["statuses"]
    }
    assert found["statuses"]["stream"]["200"] > 10
    assert set(found["statuses"]["send_too_much"]) == {"413"}
    assert set(found["statuses"]["send_nonsense"]) == {"400"}
    # SIGTERM came while all of them asked: what ran was finished, the rest refused
    ending = found["statuses_at_the_end"]
    assert {status for kind in ending.values() for status in kind} <= {"200", "503", "closed unanswered"}
    assert sum(kind.get("200", 0) for kind in ending.values()) > 10
