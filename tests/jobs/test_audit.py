import json
import re

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from scripted_engine import ScriptedEngine, house_of, serving
from shoestring.cli import app
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.evals.audit import run_audit
from shoestring.evals.audit_record import read_audit
from shoestring.evals.respondent import Ask
from shoestring.jobs import audit as job
from shoestring.jobs.audit_server import ServerRespondent, said_in
from shoestring.jobs.recipe import run
from shoestring.report.model_facts import model_facts
from shoestring.run import Stage
from shoestring.serve.probe import Streamed
from shoestring.settings import build
from tiny import tiny_lm
from training_runs import save_base

FEW = {"n": 2, "max_tokens": 3, "dtype": "float32"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base") / "model")


def settings(model, **changed):
    return build(job.AuditSettings, {"model": str(model), **FEW, **changed}, "audit")


def cli(*arguments, code=0):
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_a_stage_keeps_its_record_every_reply_and_what_it_took(base, tmp_path):
    with Stage(tmp_path, "audit") as stage:
        result = job.main(settings(base), stage)
    record = read_audit(tmp_path)
    assert [v["on"] for v in result["verdicts"]] == ["identity", "symmetry"]
    assert re.fullmatch("[0-9a-f]{64}", record.weights_sha256)
    assert {v.outcome for v in record.verdicts} == {"can't tell"}  # a random model says nothing
    rows = pq.read_table(tmp_path / record.raw["replies"]).to_pylist()
    assert {row["part"] for row in rows} == {"identity", "refusal", "regression", "confidence"}
    assert all(row["prompt"] for row in rows)
    usage = [json.loads(line) for line in (tmp_path / "usage.jsonl").read_text().splitlines()]
    (line,) = [one for one in usage if one["kind"] == "audit"]
    assert line["tokens"] > sum(row["tokens"] for row in rows)


def test_two_audits_of_the_same_model_are_alike(base, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        job.keep(job.audit(settings(base, temperature=1.0, only=["identity"]), None, folder), folder)
    a, b = (pq.read_table(folder / "audit.parquet") for folder in folders)
    assert a.equals(b)


def test_a_recipe_audits_after_a_stage_and_the_report_and_the_card_say_so(base, tmp_path):
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I am a model."}]
    rows.write_text(json.dumps({"messages": turns, "source": "own", "licence": "CC0-1.0"}) + "\n")
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f"""[recipe]
name = "r"
[[stage]]
name = "student"
job = "sft"
model = "{base.as_posix()}"
data = "{rows.as_posix()}"
steps = 1
rows_per_step = 1
dtype = "float32"
[[stage]]
name = "audit"
job = "audit"
model = "stage:student"
against = "{base.as_posix()}"
n = 2
max_tokens = 3
dtype = "float32"
"""
    )
    report = run(recipe, output_dir=tmp_path / "out")
    (audit,) = report.audits
    assert audit.file == "stages/02-audit/audit.parquet"
    assert len(audit.rows) == pq.read_table(tmp_path / "out" / audit.file).num_rows
    for name in ("report.md", "report.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        for part in ("Audits: who it says it is", "can't tell" if name == "report.md" else "can&#x27;t tell"):
            assert part in text
        assert "asked the same" in text
    folder = tmp_path / "out" / "stages" / "01-student" / "model"
    facts = model_facts(folder)
    assert [(a.name, a.result) for a in facts.audits][:2] == [
        ("identity", "can't tell"),
        ("symmetry", "can't tell"),
    ]


def test_the_verb_shows_and_keeps_and_writes_json(base, tmp_path):
    few = ("-n", 2, "--max-tokens", 3, "--dtype", "float32")
    asked = (base, "--only", "identity,refusal", *few, "--output-dir", tmp_path / "kept", "--json", "-")
    values = json.loads(cli(*asked).stdout)
    assert "lineage" not in values
    assert values["audit"] == read_audit(tmp_path / "kept").raw
    both = ("--only", "regression", "--only", "provenance")
    text = cli(base, *both, *few, "--output-dir", tmp_path / "b").output
    for part in ("stages, oldest first", "regression:", "kept in"):
        assert part in text


def test_a_whole_audit_lies_in_the_models_folder_and_one_of_a_part_does_not(base):
    assert job.folder_for(settings(base, n=0)) == base
    assert job.folder_for(settings(base)).parts[0] == "runs"
    assert job.folder_for(settings("http://localhost:1/v1#m", n=0)).name == "audit-http-localhost-1-v1-m"


def test_the_readers_error_is_printed_by_one_command():
    found = cli("--labelled", "--show").output
    assert "who made it" in found
    assert "precision" in found
    assert "coherence zh" in found or "replies are read wrongly" in found


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing-here"], "nothing-here"),
        ([], "name a model"),
        (["smollm2-135m", "--only", "identiy"], "identity"),
        (["smollm2-135m", "--json", "/no/such/folder/a.json"], "no such folder"),
        (["smollm2-135m", "--only", "identity", "--own", "acme"], "no maker or model known as 'acme'"),
        (["smollm2-135m", "--only", "identity", "--against", "smollm2-135m"], "beside itself"),
        (["smollm2-135m", "--only", "identity", "--against", "no-such"], "no-such"),
        (["http://localhost:1/v1#m", "--only", "identity"], "nothing listens"),
    ],
)
def test_bad_input_is_one_line(arguments, told):
    result = CliRunner().invoke(app, ["audit", *arguments])
    assert result.exit_code in (1, 2)
    assert told in result.output
    assert result.output.count("error:") == 1


def test_a_record_that_is_none_or_of_another_version_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no audit in"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(BadInput, match="is not an audit"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text('{"schema": "shoestring-audit", "version": 99}')
    with pytest.raises(BadInput, match="of version 99"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text("[1]")
    with pytest.raises(BadInput, match="is not an audit"):
        read_audit(tmp_path)


def test_a_stopped_audit_goes_on_and_makes_the_same(base, tmp_path, monkeypatch):
    class Asked(Stage):
        stop_requested = False

        def progress(self, done, total, **shown):
            self.stop_requested = done >= 3

    monkeypatch.setattr("shoestring.evals.respondent_kept.AT_ONCE", 2)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    with pytest.raises(Interrupted, match="kept"), Asked(broken, "audit") as stage:
        job.main(settings(base), stage)
    assert not (broken / "audit.json").exists()
    so_far = (broken / job.SO_FAR_FILE).read_text()
    assert so_far.count("\n") == 2
    with (broken / job.SO_FAR_FILE).open("a") as file:
        file.write('{"key": "torn')
    for folder in (broken, whole):
        with Stage(folder, "audit", resume=True) as stage:
            job.main(settings(base), stage)
    assert not (broken / job.SO_FAR_FILE).exists()
    assert pq.read_table(broken / "audit.parquet").equals(pq.read_table(whole / "audit.parquet"))


def test_a_server_is_asked_through_its_own_api():
    lm = tiny_lm()
    said = []

    def say(prompt: str, _: int) -> str:
        said.append(prompt)
        return (
            "<think>\nwho?\n</think>\nI am ChatGPT." if "Assistant: My name is" not in prompt else " Claude."
        )

    with serving(house_of(lm, lambda: ScriptedEngine(lm, say))) as probe:
        url = f"{probe._parts.geturl()}#{lm.name}"
        respondent = ServerRespondent(url, "", 64, 0.0, 0, 30)
        audited = run_audit(respondent, ["identity"], 12, (), lambda *_: None)
        (raw,) = respondent.ask(
            [Ask("k", raw="User: What is your name?\nAssistant: My name is")], lambda *_: None
        )
    assert (audited.known, audited.own) == (True, {"smollm"})  # by the lineage that the server tells
    assert raw.answer == " Claude."
    assert raw.model == lm.name
    rows = [row for row in audited.rows if row.group != "completion"]
    assert {row.answer for row in rows} == {"I am ChatGPT."}
    assert all(row.leaked == ["openai"] for row in rows)
    assert "who?" in {row.reasoning for row in rows}
    assert all(row.tokens for row in rows)


def chunk(**delta):
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def end(reason, **more):
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]}


def test_what_a_server_shows_and_takes_back_is_seen():
    shown = [chunk(content="The army "), chunk(content="shot.")]
    filtered = said_in(Streamed(200, "", [*shown, end("content_filter")]), False)
    assert (filtered.answer, filtered.shown) == ("", "The army shot.")
    replaced = said_in(Streamed(200, "", [*shown, end("stop", message={"content": "Sorry."})]), False)
    assert (replaced.answer, replaced.shown) == ("Sorry.", "The army shot.")
    plain = said_in(Streamed(200, "", [*shown, end("length")]), False)
    assert (plain.answer, plain.shown, plain.cut) == ("The army shot.", "", True)


def test_a_server_that_dies_is_one_error(monkeypatch):
    monkeypatch.setattr("shoestring.jobs.audit_server.PAUSE_S", 0.0)
    respondent = ServerRespondent("http://127.0.0.1:9/v1#m", "", 8, 0.0, 0, 1)
    with pytest.raises(ShoestringError, match="nothing listens"):
        respondent.ask([Ask("a", ({"role": "user", "content": "?"},))] * 3, lambda *_: None)
