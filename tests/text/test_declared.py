import json
from pathlib import Path

import pytest

from shoestring.errors import BadInput
from shoestring.origin import Lineage, Origin, Stage
from shoestring.text.conversations import ConversationFile, read_rows, rows_of
from shoestring.text.corpus import open_corpus
from shoestring.text.declared import (
    Declaration,
    carry_origin,
    declared,
    lineage_file,
    lineage_of,
    origin_of,
    permissions_of,
    teachers_of,
)

HERE = Path("d.jsonl")
ROW = {"prompt": "q", "completion": "a"}


def file(folder, *rows):
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_without_an_origin_is_refused_with_how_to_declare_it(tmp_path):
    path = file(tmp_path, {**ROW, "licence": "MIT"}, {**ROW, "source": "somewhere"})
    with pytest.raises(
        BadInput, match=r"row 2: no licence.*shoestring audit \S*d\.jsonl --source WHERE"
    ) as caught:
        ConversationFile(path, 0)
    assert "\n" not in str(caught.value)
    assert len(rows_of(read_rows(path), path, trained=False)) == 2  # looking at them asks for nothing


def test_a_declaration_says_it_once_and_a_rows_own_words_come_first(tmp_path):
    path = file(tmp_path, ROW, {**ROW, "license": "CC0-1.0", "source": "own"})
    (tmp_path / "d.jsonl.origin.toml").write_text('source = "hub:x/y"\nlicence = "unknown"\nteacher = "t"\n')
    first, second = ConversationFile(path, 0).origins
    assert first == Origin("hub:x/y", "unknown", "t")
    assert second == Origin("own", "CC0-1.0", "t")


def test_every_field_is_carried_but_those_of_one_row(tmp_path):
    row = {
        **ROW,
        "licence": "MIT",
        "teacher": "t",
        "teacher_sha256": "ab",
        "teacher_licence": "Apache-2.0",
        "teacher_endpoint": "http://localhost:8000",
        "sampling": {"temperature": 0.5, "top_p": None, "max_tokens": 9, "seed": 3, "number": 2},
        "date": "2026-11-27T10:00:00+00:00",
        "terms": "allowed",
        "outcome": "right",
    }
    others = [row | {"id": str(i), "sampling": row["sampling"] | {"number": i}} for i in range(5)]
    (origin,) = ConversationFile(file(tmp_path, *others), 0).origins
    asked = "temperature 0.5, max_tokens 9"
    told = ("Apache-2.0", asked, "2026-11-27", "allowed", "right", "http://localhost:8000")
    assert origin == Origin("file:d.jsonl", "MIT", "t", "ab", *told)


def test_a_declared_permission_doesnt_replace_a_rows_own():
    said = Declaration(source="s", licence="MIT", teacher="t", permission="by letter")
    assert origin_of({}, HERE, said).terms == "permitted: by letter"
    assert origin_of({"terms": "allowed"}, HERE, said).terms == "permitted: by letter"
    assert origin_of({"terms": "permitted: before"}, HERE, said).terms == "permitted: before"


def test_a_permission_by_hand_names_a_file_beside_it(tmp_path):
    path = file(tmp_path, {**ROW, "teacher": "gpt-4"})
    wanted = tmp_path / "d.jsonl.origin.toml"
    wanted.write_text('source = "x"\nlicence = "MIT"\npermission = "letter.txt"\n')
    with pytest.raises(BadInput, match=r"d\.jsonl\.origin\.toml: permission: no such file: \S+letter\.txt"):
        ConversationFile(path, 0)
    (tmp_path / "letter.txt").write_text("OpenAI allows it,\n2026-11-01.")
    text = "OpenAI allows it, 2026-11-01. (letter.txt)"
    (origin,) = ConversationFile(path, 0).origins
    assert origin.terms == f"permitted: {text}"
    assert permissions_of(path) == {text}


def test_permissions_are_declared_or_stand_in_the_rows_lineage(tmp_path):
    path = file(tmp_path, {**ROW, "teacher": "gpt-4", "terms": "permitted: by itself"})
    assert permissions_of(path) == frozenset()
    given = Stage("gpt-4", "permission", "", {"permission": "by OpenAI's letter"})
    lineage_file(path).write_text(json.dumps(Lineage((given,)).to_json()))
    assert permissions_of(path) == {"by OpenAI's letter"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('source = "x"', "licence' is needed"),
        ('source = "x"\nlicense = "MIT"', "unknown setting 'license', did you mean 'licence'"),
        ('source = ""\nlicence = "MIT"', "source"),
        ("source", "not valid TOML"),
    ],
)
def test_declarations_that_cant_be_read(tmp_path, text, said):
    path = file(tmp_path, ROW)
    (tmp_path / "d.jsonl.origin.toml").write_text(text)
    with pytest.raises(BadInput, match=said):
        declared(path)


def test_a_writers_stages_lie_beside_its_rows(tmp_path):
    path = file(tmp_path, {**ROW, "licence": "MIT", "teacher": "t", "teacher_sha256": "ab"})
    assert teachers_of(path) == {}
    stages = (Stage("base", "base", ""),)
    lineage_file(path).write_text(json.dumps(Lineage((), {"ab": stages}).to_json()))
    assert ConversationFile(path, 0).teachers == {"ab": stages}
    lineage_file(path).write_text("{")
    with pytest.raises(BadInput, match="not a lineage file"):
        teachers_of(path)


def test_what_stands_beside_rows_is_carried_to_those_made_from_them(tmp_path):
    path = file(tmp_path, ROW)
    carry_origin(path, tmp_path / "none.jsonl")
    (tmp_path / "d.jsonl.origin.toml").write_text('source = "x"\nlicence = "MIT"\n')
    lineage_file(path).write_text(json.dumps(Lineage((), {"ab": ()}).to_json()))
    carry_origin(path, tmp_path / "clean.parquet")
    assert declared(tmp_path / "clean.parquet") == declared(path)
    assert teachers_of(tmp_path / "clean.parquet") == {"ab": ()}
    assert declared(tmp_path / "none.jsonl") is None


def test_texts_to_pretrain_on_need_an_origin_too(tmp_path):
    text = tmp_path / "t.txt"
    text.write_text("words")
    with pytest.raises(BadInput, match=r"nothing says what licence.*set licence, or declare it once"):
        open_corpus(text, 0, validation_share=0)
    assert open_corpus(text, 0, licence="MIT", validation_share=0).origins == (Origin("file:t.txt", "MIT"),)
    (tmp_path / "origin.toml").write_text('source = "library"\nlicence = "CC0-1.0"\n')  # of the whole folder
    assert Origin("library", "CC0-1.0") in open_corpus(tmp_path, 0, validation_share=0).origins


def test_a_model_folder_from_elsewhere(tmp_path):
    assert [stage.job for stage in lineage_of(tmp_path).stages] == ["unknown"]
    (tmp_path / "origin.toml").write_text('source = "me/model"\nlicence = "MIT"\nteacher = "t"\n')
    base, taught = lineage_of(tmp_path).stages
    assert (base.job, base.detail) == ("base", {"copy_of": "me/model", "licence": "MIT"})
    assert taught.origins == (Origin("me/model", "MIT", "t"),)
    Lineage().save(tmp_path)
    assert lineage_of(tmp_path) == Lineage()
