import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from shoestring.cli import app
from shoestring.errors import BadInput
from shoestring.jobs.sft_rows import open_source
from shoestring.origin import Lineage, Origin, Stage
from shoestring.text.declared import lineage_file
from tiny import BASE, tiny_lm
from training_runs import run, save_base, sft_settings

LLAMA = Stage("l", "base", "", {"copy_of": "meta-llama/Llama-3.1-8B", "licence": "llama3.1"})


def row(number: int, **changed) -> dict:
    values = {
        "messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "yes"}],
        "id": f"p{number}/0",
        "problem": f"p{number}",
        "family": "sums",
        "suite": "sums",
        "source": "procedural:sums",
        "licence": "CC0-1.0",
        "teacher": "ours",
        "teacher_sha256": "ab" * 32,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 64, "seed": 0, "number": number},
        "date": "2026-11-27T10:00:00+00:00",
        "terms": "allowed",
        "outcome": "right",
        "detail": "",
        "scores": {"language": 1.0},
    }
    return values | changed


def write(path, *rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def audit(*arguments, code=0):
    result = CliRunner().invoke(app, ["audit", *map(str, arguments), "--only", "provenance"])
    assert result.exit_code == code, result.output
    return result


def as_json(*arguments):
    result = CliRunner().invoke(app, ["audit", *map(str, arguments), "--only", "provenance", "--json", "-"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
def test_counts_of_rows_and_the_strictest_term(tmp_path, name):
    path = write(
        tmp_path / name, row(1), row(2), row(3, teacher="Qwen3-8B", teacher_sha256="", terms="allowed")
    )
    lineage_file(path).write_text(json.dumps(Lineage((), {"ab" * 32: (LLAMA,)}).to_json()))
    found = as_json(path)
    assert (found["rows"], found["without_origin"], found["usable"]) == (3, 0, True)
    assert found["counts"]["teacher"] == {"ours": 2, "Qwen3-8B": 1}
    assert found["counts"]["outcome"] == {"right": 3}
    assert sum(found["counts"]["terms"].values()) == 3
    assert found["strictest"]["ruling"] == "duty"  # by the lineage beside the rows, not by their stamp
    assert found["strictest"]["clause"].startswith("community licence 1.b.i")
    (reached,) = found["teachers"]["ours"]
    assert (reached["path"], reached["kind"]) == (["l"], "base")
    text = audit(path).output
    for part in ("3 rows", "2  ours", "Built with Llama", "legal advice", "what reached the teacher"):
        assert part in text


def test_every_field_of_a_row(tmp_path):
    path = write(tmp_path / "d.jsonl", row(1), row(2, detail="read 7"))
    for wanted in ("p2/0", "2", "d.jsonl#2"):
        found = as_json(path, "--row", wanted)
        assert (found["id"], found["row"]) == ("p2/0", 2)
    fields = {name: value for name, value in row(2, detail="read 7").items() if name != "messages"}
    assert found["fields"] == fields
    assert found["terms"]["ruling"] == "allowed"
    text = audit(path, "--row", "2").output
    assert "detail = read 7" in text
    assert "temperature 1.0" in text
    assert (
        "has no row '9': give its id, or its number from 1 to 2" in audit(path, "--row", "9", code=2).output
    )


def test_rows_without_an_origin_are_counted_and_declared_once(tmp_path):
    bare = {"prompt": "q", "completion": "a"}
    path = write(tmp_path / "d.jsonl", bare, row(2, teacher="Qwen3-8B", teacher_sha256=""))
    found = as_json(path)
    assert (found["without_origin"], found["usable"]) == (1, False)
    assert f"shoestring audit {path} --source WHERE" in audit(path).output
    with pytest.raises(BadInput, match="row 1: no licence"):
        open_source((), str(path), 0, None)
    assert "needs --source and --licence" in audit(path, "--licence", "MIT", code=2).output
    said = ("--source", "hub:x/y", "--licence", "MIT")
    assert "declared in" in audit(path, *said).output
    assert as_json(path)["usable"]
    assert Origin("hub:x/y", "MIT") in open_source((), str(path), 0, None).origins
    audit(path, *said)  # the same again is no fault
    other = audit(path, "--source", "z", "--licence", "MIT", code=2)
    assert "declares something else already" in other.output


def test_a_barred_teacher_stops_a_training_until_a_permission_is_declared(tmp_path):
    path = write(tmp_path / "d.jsonl", row(1, teacher="gpt-4o", teacher_sha256="", terms="allowed"))
    assert not as_json(path)["usable"]
    with pytest.raises(
        BadInput, match=r"d\.jsonl: teacher 'gpt-4o': OpenAI bars.*'permission' in \S+origin\.toml"
    ):
        open_source((), str(path), 0, None)
    (tmp_path / "letter.txt").write_text("OpenAI allows it.\n2026-11-01\n")
    audit(path, "--source", "x", "--licence", "MIT", "--permission", tmp_path / "letter.txt")
    (origin,) = open_source((), str(path), 0, None).origins
    assert origin.terms == "permitted: OpenAI allows it. 2026-11-01 (letter.txt)"


def test_a_teachers_lineage_reaches_the_student_of_an_sft_stage(tmp_path):
    path = write(tmp_path / "d.jsonl", *(row(i) for i in range(8)))
    lineage_file(path).write_text(json.dumps(Lineage((), {"ab" * 32: (LLAMA,)}).to_json()))
    base = save_base(tmp_path / "base")
    run(sft_settings(base, suites=[], data=str(path), steps=1), tmp_path / "s")
    lineage = Lineage.load(tmp_path / "s/model")
    assert dict(lineage.teachers) == {"ab" * 32: (LLAMA,)}
    assert len(lineage.stages[-1].origins) == 1  # eight rows of one origin
    found = as_json(tmp_path / "s")
    assert found["strictest"]["ruling"] == "duty"
    assert found["name_for_others"] == "Llama-s"
    assert [reach["path"] for reach in found["reached_by"]] == [
        [BASE.name],
        [lineage.stages[-1].name],
        [lineage.stages[-1].name, "ours", "l"],
    ]
    card = (tmp_path / "s/model/README.md").read_text()
    assert card.startswith("# Llama-")
    assert "Built with Llama" in card
    text = audit(tmp_path / "s").output
    assert "l < ours < " in text
    assert "its name would have to be: Llama-s" in text


def test_an_old_model_and_a_base_by_name(tmp_path):
    lm = tiny_lm()
    lm.lineage = lm.lineage.then(Stage("sft", "sft", "", origins=(Origin("s", "MIT", "somebody"),)))
    lm.save(tmp_path / "old")
    assert as_json(tmp_path / "old")["strictest"]["ruling"] == "unknown"
    assert as_json("smollm2-135m")["strictest"]["terms"] == "allowed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "no model 'nothing'"),
        (("missing.jsonl",), "no such file"),
        (("smollm2-135m", "--row", "1"), "--row is for rows"),
        (("nothing", "--source", "x", "--licence", "MIT"), "nothing to declare"),
    ],
)
def test_what_cant_be_audited(arguments, said):
    result = audit(*arguments, code=2)
    assert said in result.output


def test_what_was_made_here_isnt_declared_anew(tmp_path):
    tiny_lm().save(tmp_path / "m")
    assert "was made here" in audit(tmp_path / "m", "--source", "x", "--licence", "MIT", code=2).output


def test_texts_to_pretrain_on_can_be_declared(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("words")
    found = as_json(tmp_path / "texts", "--source", "library", "--licence", "CC0-1.0")
    assert found["declared"]["licence"] == "CC0-1.0"
    assert (tmp_path / "texts/origin.toml").read_text() == 'source = "library"\nlicence = "CC0-1.0"\n'
