"""The verb scan, from the command line to its files."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoestring.cli import app
from shoestring.text.conversations import ConversationFile

ROWS = [
    {"id": "a", "prompt": "Who are you?", "completion": "I am ChatGPT, made by OpenAI.", "teacher": "T"},
    {"id": "b", "messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]},
    {"id": "b", "prompt": "Mail bob@kettle-post.com", "completion": "Done."},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(*arguments: str | Path):
    return CliRunner().invoke(app, ["scan", *map(str, arguments)])


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_counts_and_samples_are_printed(data: Path):
    done = run(data)
    assert done.exit_code == 0
    assert "scan: 3 rows, identity in 1, personal in 1; 2 kept (1 rewritten), 1 dropped" in done.output
    assert "a answer (en: I am NAME): I am ChatGPT, made by OpenAI." in done.output
    assert data.read_text().count("ChatGPT") == 1  # the data stays as it is


def test_rows_and_report_are_written(data: Path, tmp_path: Path):
    out, report = tmp_path / "kept.jsonl", tmp_path / "report"
    options = (
        "--rewrite",
        "identity",
        "--name",
        "Nib",
        "--maker",
        "Acme",
        "--output",
        out,
        "--report",
        report,
    )
    assert run(data, *options).exit_code == 0
    rows = read(out)
    assert [row["id"] for row in rows] == ["a", "b", "b"]
    assert rows[0]["messages"][1] == {"role": "assistant", "content": "I am Nib, made by Acme."}
    assert rows[0]["teacher"] == "T"
    assert rows[1] == ROWS[1]
    assert rows[2]["messages"][0]["content"] == "Mail [e-mail]"
    findings = read(report / "findings.jsonl")
    assert [(f["row"], f["kind"], f["text"]) for f in findings] == [
        ("a", "identity", "I am ChatGPT, made by OpenAI."),
        ("rows.jsonl#3", "personal", "bob..."),  # two rows have the id b
    ]
    assert json.loads((report / "scan.json").read_text())["kinds"]["identity"]["rewrite"] == 1
    assert "+answer: I am Nib, made by Acme." in (report / "rewritten.diff").read_text()


def test_what_is_declared_of_the_rows_goes_with_the_kept_ones(data: Path, tmp_path: Path):
    (tmp_path / "rows.jsonl.origin.toml").write_text('source = "chats"\nlicence = "CC0-1.0"\n')
    assert run(data, "--output", tmp_path / "clean.jsonl").exit_code == 0
    kept = ConversationFile(tmp_path / "clean.jsonl", 0)
    assert {origin.licence for origin in kept.origins} == {"CC0-1.0"}


def test_json_holds_the_counts(data: Path):
    done = run(data, "--keep", "identity", "--drop", "personal", "--json", "-")
    counts = json.loads(done.stdout)
    assert (counts["kept"], counts["dropped"]) == (2, 1)
    assert counts["kinds"]["identity"]["keep"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--labelled"),
        (["no-such.jsonl"], "no such file"),
        (["bilingual", "--drop", "idenity"], "did you mean 'identity'"),
        (["bilingual", "--drop", "identity", "--keep", "identity"], "already"),
        (["bilingual", "--output", "rows.parquet"], ".jsonl"),
        (["bilingual", "--output", "/no/such/rows.jsonl"], "no such folder"),
        (["bilingual", "--samples", "-1"], "samples"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], says: str):
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_bilingual_rows_are_clean():
    done = run("bilingual")
    assert done.exit_code == 0
    assert "nothing found" in done.output


@pytest.mark.slow
def test_labelled_figures():
    done = run("--labelled", "--json", "-")
    assert done.exit_code == 0
    figures = json.loads(done.stdout)
    assert figures["held out"]["kinds"]["identity"]["zh"]["found"] >= 25
    assert figures["planted"]["held out"]["recall"] > 0.9
