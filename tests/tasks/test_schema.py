"""JSON by schema: the one value, valid and equal to the gold; schemas are checked when a row is read."""

import json
import random
from pathlib import Path

import pytest

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome
from shoestring.tasks.files import FileFamily
from shoestring.tasks.schema import judge_json, schema_text
from shoestring.tasks.suite import parse_suite, score
from shoestring.text.message import Reply

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}, "born": {"format": "date"}},
    "required": ["name", "age"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}
FREE, GOLD = (
    schema_text({"schema": SCHEMA}),
    schema_text({"schema": SCHEMA, "gold": {"name": "Ada", "age": 36}}),
)

ANSWERS = [
    ('{"name": "Ada", "age": 36}', "right", "right"),
    ('```json\n{"age": 36, "name": "Ada"}\n```', "right", "right"),
    ('Here it is:\n```\n{"age": 36, "name": "Ada"}\n```\nDone.', "right", "right"),
    ('{"name": "Bob", "age": 36}', "right", "wrong"),
    ('{"name": "Ada", "age": 36.0}', "right", "right"),
    ('{"name": "Ada", "age": true}', "wrong", "wrong"),
    ('{"name": "Ada", "age": -1}', "wrong", "wrong"),
    ('{"name": "Ada", "age": 36, "born": "soon"}', "wrong", "wrong"),
    ('{"name": "Ada"}', "wrong", "wrong"),
    ("[]", "wrong", "wrong"),
    ('{"name": "Ada", "age": 36', "unparsed", "unparsed"),
    ('{"name": "Ada", "age": 36} as asked', "unparsed", "unparsed"),
    ('{"name": "Ada", "age": 1, "age": 36}', "unparsed", "unparsed"),
    ('{"name": "Ada", "age": NaN}', "unparsed", "unparsed"),
    ('```json\n{"name": "Ada", "age": 36}\n```\n```json\n{}\n```', "unparsed", "unparsed"),
    ("", "unparsed", "unparsed"),
    ("[" * 100_000, "unparsed", "unparsed"),
]


@pytest.mark.parametrize(("answer", "free", "gold"), ANSWERS, ids=range(len(ANSWERS)))
def test_answers(answer: str, free: str, gold: str) -> None:
    for text, outcome in ((FREE, free), (GOLD, gold)):
        verdict = judge_json(Reply(None, answer), text)
        assert verdict.outcome.value == outcome, verdict
        assert verdict.value == (outcome == "right")
        assert (verdict.detail == "") == (outcome == "right")


def test_thinking_is_not_the_answer() -> None:
    assert judge_json(Reply('{"name": "Ada", "age": 36}', ""), FREE).outcome is Outcome.UNPARSED


def test_what_is_wrong_is_said() -> None:
    assert (
        judge_json(Reply(None, '{"name": 1, "age": 36}'), FREE).detail == "$.name: 1 is not of type 'string'"
    )


BAD = [
    ({"schema": "{"}, "not JSON"),
    ({"schema": [1]}, "not an object"),
    ({"schema": {"type": "text"}}, "not a JSON Schema"),
    ({"schema": {"$ref": "https://example.com/schema.json"}}, "refers to another document"),
    ({"schema": {"$ref": "#/$defs/none"}}, "a part that it doesn't have"),
    ({"schema": {"type": "integer"}, "answer": "x"}, "its answer is not JSON"),
    ({"schema": {"type": "integer"}, "answer": '"x"'}, "doesn't fit its schema"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_rows_that_cannot_be_used(row: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        schema_text(row)


def test_a_file_of_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = [
        {"prompt": f"Give {i}.", "schema": json.dumps({"type": "integer"}), "answer": i} for i in range(3)
    ]
    path.write_text("\n".join(map(json.dumps, [*good, {"prompt": "No.", "schema": {"type": "text"}}])))
    suite = parse_suite(str(path))
    assert isinstance(suite.family, FileFamily)
    problems = suite.family.problems(suite.level)
    assert [p.hidden["kind"] for p in problems] == ["json"] * 3
    assert [score(p, Reply(None, "1")).outcome.value for p in problems] == ["wrong", "right", "wrong"]
    assert list(suite.family.refused_rows(suite.level).values()) == [[4]]
    (tmp_path / "bad.jsonl").write_text(json.dumps({"prompt": "No.", "schema": {"type": "text"}}))
    bad = parse_suite(f"{tmp_path / 'bad.jsonl'}:answer=json")
    with pytest.raises(BadInput, match=r"not a JSON Schema.*\(1\) in row 1"):
        bad.family.draw(bad.level, random.Random(0))
