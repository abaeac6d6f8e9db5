"""The committed page of conformance is what its script makes of the kept results, and these are of the checks
that there are."""

import json
import subprocess
import sys
from pathlib import Path

from shoestring.serve.conformance import checks

ROOT = Path(__file__).parents[2]
KEPT = {
    "shoestring": "benchmarks/results/conformance-shoestring.json",
    "llama.cpp": "benchmarks/results/conformance-llama.cpp.json",
}


def page(**servers: str) -> subprocess.CompletedProcess[str]:
    words = [f"{name}={file}" for name, file in servers.items()]
    command = [sys.executable, "benchmarks/conformance.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_is_of_the_kept_results() -> None:
    assert page(**KEPT).stdout == (ROOT / "docs/conformance.md").read_text(encoding="utf-8")
    for file in KEPT.values():
        kept = json.loads((ROOT / file).read_text(encoding="utf-8"))
        assert [finding["name"] for finding in kept["findings"]] == list(checks())
        assert kept["passed"] + kept["failed"] + kept["skipped"] == kept["checks"]


def test_results_of_other_checks_do_not_stand_beside_each_other(tmp_path: Path) -> None:
    kept = json.loads((ROOT / KEPT["shoestring"]).read_text(encoding="utf-8"))
    kept["findings"].pop()
    other = tmp_path / "other.json"
    other.write_text(json.dumps(kept))
    done = page(ours=str(ROOT / KEPT["shoestring"]), other=str(other))
    assert done.returncode == 1
    assert "weren't asked the same checks" in done.stderr
