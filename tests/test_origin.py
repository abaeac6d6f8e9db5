import json

import pytest

from shoestring.errors import BadInput
from shoestring.origin import Lineage, Origin, Stage, read_permission

# as every model folder had it before teachers' stages were kept
OLD = {
    "stages": [
        {"name": "base", "job": "base", "date": "", "detail": {"licence": "MIT"}, "origins": []},
        {
            "name": "sft",
            "job": "sft",
            "date": "2026-01-01T00:00:00+00:00",
            "detail": {},
            "origins": [{"source": "s", "licence": "MIT", "teacher": "t"}],
        },
    ]
}
TAUGHT = Origin("s", "MIT", "t", "ab" * 32, "MIT", "temperature 1.0", "2026-11-27", "allowed", "right")


def test_an_old_lineage_file_loads_and_is_written_as_it_was(tmp_path):
    (tmp_path / "lineage.json").write_text(json.dumps(OLD))
    lineage = Lineage.load(tmp_path)
    assert lineage.stages[1].origins == (Origin("s", "MIT", "t"),)
    assert lineage.teachers == {}
    assert lineage.to_json() == OLD


def test_teachers_and_their_teachers_go_along(tmp_path):
    first = Lineage((Stage("base", "base", ""),))
    second = Lineage((Stage("other", "base", ""),)).then(
        Stage("sft", "sft", "", origins=(TAUGHT,)), first.as_teacher("ab" * 32)
    )
    third = Lineage().then(Stage("sft", "sft", ""), second.as_teacher("second"))
    third = third.then(Stage("grpo", "grpo", ""))
    third.save(tmp_path)
    assert Lineage.load(tmp_path) == third
    assert dict(third.teachers) == {"ab" * 32: first.stages, "second": second.stages}


def test_what_isnt_known_of_an_origin_isnt_written():
    assert Origin("s", "MIT").to_json() == {"source": "s", "licence": "MIT", "teacher": None}
    assert Origin(**TAUGHT.to_json()) == TAUGHT
    assert (TAUGHT.teacher_key, Origin("s", "MIT", "t").teacher_key) == ("ab" * 32, "t")


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"stages": [{"name": "x"}]}', '{"stages": [], "teachers": []}']
)
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "lineage.json").write_text(text)
    with pytest.raises(BadInput, match="is not a lineage file"):
        Lineage.load(tmp_path)


def test_a_permission_is_a_text_or_a_file(tmp_path):
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear all,\n  we allow it.\nSigned, 2026-11-01\n")
    assert read_permission(str(letter)) == "Dear all, we allow it. Signed, 2026-11-01 (letter.txt)"
    assert read_permission("They allow it,\n2026-11-01.") == "They allow it, 2026-11-01."
    assert read_permission("") == ""
    letter.write_text("x" * 5000)
    for given, said in [
        ("yes", "say who permits"),
        (" ", "say who permits"),
        ("leter.txt", "no such file"),
        (str(letter), "5000 characters"),
    ]:
        with pytest.raises(BadInput, match=said):
            read_permission(given)


def test_a_permissions_file_is_looked_for_where_it_is_named(tmp_path):
    (tmp_path / "letter").write_text("They allow it, 2026-11-01.")
    assert read_permission("letter", tmp_path) == "They allow it, 2026-11-01. (letter)"
    long = "We permit it, " + "and gladly, " * 60 + "2026-11-01"
    assert read_permission(long) == long  # longer than any file's name
    assert read_permission(read_permission("letter", tmp_path), tmp_path).endswith("(letter)")
