"""The labelled answer pairs, and the command that measures our scoring on them."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from shoestring.cli import app
from shoestring.jobs.verifier import SHIPPED, VerifierSettings, main, measure, read_pairs

TABLES = Path(__file__).parents[1] / "tasks"


def test_labelled_pairs_are_what_the_tables_say() -> None:
    pairs = read_pairs(SHIPPED)
    right = sum(pair.right for pair in pairs)
    assert len(pairs) >= 600
    assert 0.4 < right / len(pairs) < 0.6
    assert len({pair.shape for pair in pairs}) >= 60
    assert len({(p.kind, p.gold, p.prompt, p.reply, p.reasoning, p.percent) for p in pairs}) == len(pairs)
    assert {pair.kind for pair in pairs} == {"integer", "choice", "maths", "exact"}
    made = subprocess.run(
        [
            sys.executable,
            "-c",
            "import make_answer_pairs as m, sys; sys.stdout.buffer.write(m.text().encode())",
        ],
        cwd=TABLES,
        env={**os.environ, "PYTHONPATH": str(TABLES)},
        capture_output=True,
        check=True,
    ).stdout
    assert made == SHIPPED.read_bytes()


def test_our_error_rates_on_the_labelled_pairs() -> None:
    """Ceilings as measured by `shoestring verifier`: 1 wrong answer granted, 5 right ones missed."""
    measured = measure("ours", pairs := read_pairs(SHIPPED), "", VerifierSettings())
    table = measured.table(pairs)
    assert measured.hangs == 0
    assert table["false_positives"] <= 1
    assert table["false_negatives"] <= 5


@pytest.mark.slow
def test_we_are_never_worse_than_math_verify_alone() -> None:
    console = Console(file=io.StringIO())
    verifiers = main(VerifierSettings(), console)["verifiers"]
    ours, peer = verifiers["shoestring"]["kinds"], verifiers["math-verify alone"]["kinds"]
    for kind in ("integer", "maths", "choice"):
        for error in ("false_positives", "false_negatives"):
            assert ours[kind][error] <= peer[kind][error], (kind, error)


def test_the_verb_shows_mistakes_and_refuses_bad_files(tmp_path: Path) -> None:
    row = {"id": "a", "kind": "exact", "gold": "paris", "reply": "Paris", "right": True, "shape": "text"}
    path, result = tmp_path / "pairs.jsonl", tmp_path / "result.json"
    path.write_text("\n".join(json.dumps(r) for r in (row, row | {"id": "b", "right": False})))
    run = CliRunner().invoke(app, ["verifier", "--pairs", str(path), "--show", "--json", str(result)])
    assert run.exit_code == 0, run.output
    assert "wrong called right 1/1 = 100.0%" in run.output
    table = json.loads(result.read_text())["verifiers"]["shoestring"]["kinds"]["all"]
    assert (table["n"], table["true_positives"], table["false_positives"]) == (2, 1, 1)
    assert [row["id"] for row in json.loads(result.read_text())["mistakes"]] == ["b"]
    for text, why in (
        ("[1]", "line 1: not a JSON object"),
        ("", "no answer pairs"),
        ('{"id": "a"}', "is needed"),
    ):
        path.write_text(text)
        bad = CliRunner().invoke(app, ["verifier", "--pairs", str(path)])
        assert (bad.exit_code, why in bad.output) == (2, True), bad.output
