"""`shoestring release` and `shoestring verify` as a user meets them: a stage of a run with an evaluation and
an audit, and everything that may be missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from releases import saved
from shoestring import cli
from shoestring.evals.item import Item, save_items
from shoestring.evals.receipt import Made, make_receipt
from shoestring.lm import load, weights_sha256
from shoestring.run.progress import duration

runner = CliRunner()
OPEN = ("--override", 'peer="no transformers here"')


def call(*arguments):
    return runner.invoke(cli.app, list(map(str, arguments)))


MADE = Made(
    *("zero", "", "", "", "", False, 512, (258,), "shoestring", "bfloat16", "cpu", "none", 1), {}, "", "3.12"
)


def evaluation(folder: Path, right: int = 60, score: float | None = None) -> None:
    (folder / "evals").mkdir(parents=True)
    outcomes = ["right" if i < right else "wrong" for i in range(100)]
    items = [Item(f"p{i}", 0, "q", "a", "r", o, "", 1, 1, "stop") for i, o in enumerate(outcomes)]
    save_items(items, folder / "evals/zero-sums.parquet")
    receipt = make_receipt("sums", 1, 0, {"max_tokens": 96}, MADE, items)
    values = {"model": "zero", "suite": "sums", "variant": "", "n": 100, "k": 1, "seed": 0, "correct": right}
    values |= {"score": score or right / 100, "ci95": [0.5, 0.69], "truncated": 0, "unparsed": 0}
    values |= {"lower_bound": False, "settings": {"max_tokens": 96}, "receipt": receipt.to_json()}
    values |= {"rows": "zero-sums.parquet"}
    (folder / "evals/zero-sums.json").write_text(json.dumps(values))


def audit(folder: Path, weights: str, outcome: str = "pass") -> None:
    folder.mkdir(parents=True)
    verdicts = [{"on": on, "outcome": outcome, "why": "200 replies"} for on in ("identity", "symmetry")]
    values = {"schema": "shoestring-audit", "version": 1, "verdicts": verdicts, "notes": []}
    named = {"name": "zero", "weights_sha256": weights, "lineage_known": True}
    values |= {"model": named, "made": {"date": "2026-02-02"}}
    (folder / "audit.json").write_text(json.dumps(values))


@pytest.fixture(scope="module", autouse=True)
def alone():
    """transformers, where it is installed, takes ten seconds to start: test_peers.py asks it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shoestring.jobs.export.find_transformers", lambda _: None)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of three units: a trained stage, its evaluation, its audit."""
    folder = tmp_path_factory.mktemp("release") / "run"
    zero = saved(folder / "stages", "llama").rename(folder / "stages/01-zero")
    stages = [
        {"name": name, "job": job} for name, job in (("zero", "grpo"), ("eval", "eval"), ("audit", "audit"))
    ]
    (folder / "recipe.toml").write_text(tomli_w.dumps({"recipe": {"name": "r"}, "stage": stages}))
    evaluation(folder / "stages/02-eval")
    weights = weights_sha256(load(zero / "model", dtype="float32"))
    audit(folder / "stages/03-audit", weights)
    settings = {
        "01-zero": {"job": "grpo"},
        "02-eval": {"job": "eval", "models": {"zero": "stage:zero", "base": "smollm2-135m"}},
        "03-audit": {"job": "audit", "model": "stage:zero"},
    }
    for name, values in settings.items():
        (folder / "stages" / name / "settings.toml").write_text(tomli_w.dumps(values))
        (folder / "stages" / name / "result.json").write_text("{}")
    usage = {"unit": "stages/01-zero", "stage": "zero", "kind": "update", "seconds": 60.0, "tokens": 10}
    usage |= {"flops": 1e9, "wasted": {}}
    (folder / "usage.jsonl").write_text(json.dumps(usage) + "\n")
    return folder


def release(run: Path, out: Path, *more):
    base = ("--base", run / "stages/base", "--tokens", "2")
    return call("release", run / "stages/01-zero", "--output", out, "--format", "hf", *base, *more)


@pytest.fixture(scope="module")
def released(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("released") / "zero"
    done = release(run, out, *OPEN)
    assert done.exit_code == 0, done.output
    return out


def test_what_a_release_holds(released):
    files = {path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()}
    assert {
        *("README.md", "release.json", "recipe.toml", "bill.json", "lineage.json", "hf/proof.json"),
        *("hf/README.md", "hf/model.safetensors", "evaluations/00/zero-sums.json", "audits/00/audit.json"),
        "evaluations/00/zero-sums.parquet",
    } <= files
    manifest = json.loads((released / "release.json").read_text())
    assert [gate["name"] for gate in manifest["gates"] if not gate["open"]] == ["peer"]
    card: Any = ModelCard((released / "hf/README.md").read_text())
    assert card.data.eval_results[0].metric_value == 0.6
    assert "no transformers here" in card.text
    assert f"{duration(60)} of this machine's time" in card.text


def test_somebody_else_verifies_it(released, tmp_path):
    done = call("verify", released)
    assert done.exit_code == 0, done.output
    assert "the receipt of sums holds for its replies" in done.output
    assert "released although peer was closed: no transformers here" in done.output
    copy = Path(shutil.copytree(released, tmp_path / "copy"))
    (copy / "README.md").write_text("better")
    values = json.loads((copy / "evaluations/00/zero-sums.json").read_text())
    (copy / "evaluations/00/zero-sums.json").write_text(json.dumps(values | {"score": 0.9}))
    done = call("verify", copy)
    assert done.exit_code == 1
    assert f"WRONG: {copy}/README.md was changed" in done.output
    assert "WRONG: the receipt of sums: score is 0.9, and 60 of 100 were right" in done.output
    assert "and 2 more" in done.output.splitlines()[-1]


def test_the_proof_again(released):
    done = call("verify", released, "--rerun", "--json", "-")
    assert done.exit_code == 0, done.output
    assert "takes the same token at all 64 places" in done.output


def test_closed_gates_are_named_before_anything_is_written(run, tmp_path):
    zero, out = tmp_path / "zero", tmp_path / "out"
    shutil.copytree(run / "stages/01-zero/model", zero)
    done = call("release", zero, "--output", out, "--tokens", "1")
    assert done.exit_code == 1
    for name in (
        "evaluation: it was never evaluated",
        "identity-leak: it was never audited",
        "audited-weights",
    ):
        assert name in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["zero"]
    (zero / "lineage.json").unlink()
    done = call("release", zero, "--output", out)
    assert "known-origin: its lineage doesn't say where it came from" in done.output
    assert "licence: nobody says under which" in done.output


def test_a_leak_and_a_score_that_its_replies_deny(run, tmp_path):
    audit(tmp_path / "leaky", weights_sha256(load(run / "stages/01-zero/model", dtype="float32")), "fail")
    evaluation(tmp_path / "wrong", score=0.9)
    done = release(run, tmp_path / "out", "--audit", tmp_path / "leaky", "--eval", tmp_path / "wrong")
    assert done.exit_code == 1
    assert "identity-leak: fail: 200 replies" in done.output
    assert "receipt: sums: score is 0.9, and 60 of 100 were right" in done.output


def test_replies_that_cannot_be_read_close_the_gate(run, tmp_path):
    evaluation(tmp_path / "old")
    (tmp_path / "old/evals/zero-sums.parquet").write_bytes(b"PAR1")
    done = release(run, tmp_path / "out", "--eval", tmp_path / "old")
    assert done.exit_code == 1
    assert "receipt: sums: " in done.output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--override", "leak=x"), "no such gate"),
        (("--override", "evaluation"), "needs a reason"),
        (("--format", "zip"), "'zip'"),
        (("--audit", "nowhere"), "no audit in nowhere"),
        (("--eval", "nowhere"), "holds no evaluation"),
    ],
)
def test_bad_input(run, tmp_path, more, said):
    done = release(run, tmp_path / "out", *more)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not list(tmp_path.iterdir())


def test_folders_to_verify_that_are_none(tmp_path):
    assert "no such folder" in call("verify", tmp_path / "x").output
    done = call("verify", tmp_path)
    assert done.exit_code == 2
    assert "it is no release and no export" in done.output
