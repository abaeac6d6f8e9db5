import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.conversations import ConversationFile

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def file(tmp_path, *rows, name="d.jsonl"):
    path = tmp_path / name
    """Rows are under MIT unless they say otherwise: None is nothing said."""
    rows = [{"licence": "MIT", **row} for row in rows]
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"conversations": TURNS},
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "answer": "a"},
        {"question": "q", "solution": "a"},
    ],
)
def test_shapes(tmp_path, row):
    rows = ConversationFile(file(tmp_path, row), 0)
    assert rows.next() == (TURNS, "d.jsonl#1")


def test_parquet_and_its_nulls(tmp_path):
    thinking = [TURNS[0], {"role": "assistant", "content": "a", "reasoning_content": "r"}]
    pq.write_table(
        pa.Table.from_pylist([{"messages": turns, "licence": "MIT"} for turns in (TURNS, thinking)]),
        tmp_path / "d.parquet",
    )
    rows = ConversationFile(tmp_path / "d.parquet", 0)
    found = sorted((rows.next() for _ in range(2)), key=lambda r: r[1])
    assert found == [(TURNS, "d.parquet#1"), (thinking, "d.parquet#2")]


def test_each_epoch_has_every_row_in_an_order_of_its_own_and_resumes(tmp_path):
    path = file(tmp_path, *({"prompt": f"q{i}", "completion": "a"} for i in range(20)))
    rows = ConversationFile(path, 7)
    names = [rows.next()[1] for _ in range(60)]
    epochs = [names[i : i + 20] for i in (0, 20, 40)]
    assert [len(set(e)) for e in epochs] == [20, 20, 20]
    assert len({tuple(e) for e in epochs}) == 3
    again = ConversationFile(path, 7)
    again.load_state_dict({"index": 33})
    assert [again.next()[1] for _ in range(27)] == names[33:]
    assert again.state_dict() == {"index": 60}
    assert [ConversationFile(path, 8).next()[1] for _ in range(20)] != names[:20]


def test_origins(tmp_path):
    named = {"prompt": "q", "completion": "a", "source": "s", "licence": "MIT", "teacher": "t"}
    plain = {"prompt": "q", "completion": "b", "licence": "unknown"}
    rows = ConversationFile(file(tmp_path, named, named, plain), 0)
    assert set(rows.origins) == {Origin("s", "MIT", "t"), Origin("file:d.jsonl", "unknown", None)}
    assert len(rows.origins) == 2


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path):
    rows = ConversationFile(file(tmp_path, {"prompt": "a\u2028b\x85c", "completion": "d"}), 0)
    assert rows.next()[0][0]["content"] == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"prompt": "q"', "d.jsonl, line 1: not JSON"),
        (b'{"prompt": "\xff"}', "d.jsonl, line 1: not JSON"),
        (b"", "holds no rows"),
        (b"[1]", "row 1: not an object"),
        (b'{"prompt": "q", "text": "t"}', "neither messages nor prompt and completion; it has prompt, text"),
        (b'{"messages": [{"role": "user"}]}', "each message needs a role and a content"),
        (
            b'{"messages": [{"role": "assistant", "content": "a", "reasoning_content": ["x"]}]}',
            "row 1: .*reasoning_content, where it has one, is text too",
        ),
        (b'{"messages": "hello"}', "each message needs a role and a content"),
        (b'{"messages": [{"role": "user", "content": "q"}]}', "row 1: no assistant's turn"),
    ],
)
def test_faults_are_one_line_before_anything_is_trained(tmp_path, text, said):
    path = tmp_path / "d.jsonl"
    path.write_bytes(text)
    with pytest.raises(BadInput, match=said) as caught:
        ConversationFile(path, 0)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        ConversationFile(tmp_path / "missing.jsonl", 0)
    with pytest.raises(BadInput, match=r"read from \.jsonl or \.parquet"):
        ConversationFile(tmp_path / "d.csv", 0)
    (tmp_path / "d.parquet").write_bytes(b"no")
    with pytest.raises(BadInput, match="is not a Parquet file"):
        ConversationFile(tmp_path / "d.parquet", 0)
