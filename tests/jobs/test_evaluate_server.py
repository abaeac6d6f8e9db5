"""Servers as models of an eval stage and of `shoestring eval`."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from shoestring import cli
from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs import evaluate as job
from shoestring.run import Stage, read_lines
from shoestring.settings import build
from stub_endpoint import KEY, Stub, serving

SUITES = ["sums:max_terms=3", "sums:max_digits=3,max_terms=3"]
runner = CliRunner()


@pytest.fixture
def stub():
    with serving(Stub()) as running:
        yield running


def settings(stub: Stub, **values) -> job.EvaluateSettings:
    base = {"models": {"far": f"{stub.url}#r1"}, "suites": SUITES, "n": 4, "workers": 1}
    base |= {"servers": {"far": {"backoff_s": 0.01, "retries": 1, "price_in": 1, "price_out": 2}}}
    return build(job.EvaluateSettings, {**base, **values}, "test")


def test_a_stage_resumes_in_the_middle_of_a_unit(stub, tmp_path) -> None:
    stub.fault = lambda name, attempt: "503" if sum(stub.ledger.values()) >= 6 else None
    with Stage(tmp_path, "eval") as stage, pytest.raises(ShoestringError, match="of 4 replies are kept"):
        job.main(settings(stub), stage)
    stub.fault = lambda name, attempt: None
    with Stage(tmp_path, "eval", resume=True) as stage:
        result = job.main(settings(stub), stage)
    assert set(stub.ledger.values()) == {1}
    assert [row["score"] for row in result["evals"]] == [1.0, 1.0]
    assert result["evals"][0]["worth"]["money"] == pytest.approx(4 * (20 * 1 + 50 * 2) / 1e6)
    assert result["evals"][0]["server"]["weights_sha256"] is None
    items = pq.read_table(tmp_path / result["items"])
    assert items.num_rows == 8
    assert set(items["model"].to_pylist()) == {"far"}
    used = [line for line in read_lines(tmp_path / "usage.jsonl") if line["kind"] == "eval"]
    assert sum(line["tokens"] for line in used) == 8 * 70
    assert sum(line["paid"] for line in used) == pytest.approx(8 * (20 * 1 + 50 * 2) / 1e6)
    assert len(used) == 3  # the first start's two suites, of which the second wasn't whole
    assert result["evals"][1]["server"]["kept"] == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"servers": {"near": {}}}, "servers names 'near'"),
        ({"servers": {"far": {"pace": 3}}}, "servers.far: unknown setting 'pace'"),
        ({"models": {"far": "runs/r1"}}, "servers.far: runs/r1 is no server's address"),
        ({"chat_check": True}, "far is a server: tools, quantize, chat_check and identity_check"),
        ({"tools": ["calculator"]}, "far is a server: tools"),
        ({"models": {"far": "http://h/v1"}}, "write which of its models you mean"),
        ({"servers": {"far": {"key_env": "NO_SUCH_KEY_HERE"}}}, "NO_SUCH_KEY_HERE is not set"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_asked(stub, values, words) -> None:
    with pytest.raises(BadInput, match=words):
        job.plan(settings(stub, **values))
    assert not stub.bodies


def test_the_verb_scores_a_server_and_goes_on_where_it_stopped(stub, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    arguments = ["eval", f"{stub.url}#r1", "--suite", SUITES[0], "-n", "4"]
    arguments += ["--server", "key_env=STUB_KEY", "--server", "price_out=2", "--json", "-"]
    stub.fault = lambda name, attempt: "500" if sum(stub.ledger.values()) >= 2 else None
    once = ["--server", "concurrency=1", "--server", "retries=0"]
    broken = runner.invoke(cli.app, [*arguments, *once, "-n", "8"])
    assert broken.exit_code == 1
    assert "are kept in runs/eval-r1-sums-max-terms=3/evals/replies: with --resume" in broken.stderr
    assert "[key]" in broken.stderr
    assert KEY not in broken.stderr
    stub.fault = lambda name, attempt: None
    again = runner.invoke(cli.app, arguments)
    assert again.exit_code == 2
    assert "add --resume" in again.stderr
    done = runner.invoke(cli.app, [*arguments, "--resume"])
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    assert (values["score"], values["server"]["kept"]) == (1.0, 2)
    assert "r1: sums:max_terms=3: 100.0 %" in done.stderr
    assert "a right answer takes: 50 [50, 50] tokens made" in done.stderr
    assert len(stub.ledger) == 4
    folder = tmp_path / "runs/eval-r1-sums-max-terms=3"
    assert pq.read_table(folder / "evals/items.parquet").num_rows == 4
    assert KEY not in "".join(p.read_text() for p in folder.rglob("*.json*"))
    again = runner.invoke(cli.app, ["eval", "--rescore", str(folder), "--json", "-"])
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["rescored"][0]["score"] == 1.0
    beside = runner.invoke(cli.app, ["eval", "--compare", str(folder), str(folder)])
    assert beside.exit_code == 0, beside.stderr
    assert "tokens can't be compared: a server doesn't tell them" in beside.stdout
    assert len(stub.ledger) == 4


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--price", "wats=3"], "did you mean 'watts'"),
        (["--quantize", "int8"], "r1 is a server: tools, quantize"),
        (["--server", "x=1"], "servers.r1: unknown setting 'x'"),
        (["--server", "concurrency=0"], "'concurrency' = 0"),
        (["-k", "2"], "set a temperature"),
    ],
)
def test_mistakes_of_the_verb(stub, tmp_path, monkeypatch, more, words) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(cli.app, ["eval", f"{stub.url}#r1", "--suite", "sums", "-n", "2", *more])
    assert done.exit_code == 2
    assert words in done.stderr
    assert not stub.bodies
    here = runner.invoke(cli.app, ["eval", "no-model", "--suite", "sums", "--server", "concurrency=2"])
    assert "servers.no-model: no-model is no server's address" in here.stderr
