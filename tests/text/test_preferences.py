import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput
from shoestring.text.message import Reply
from shoestring.text.preferences import OWN, num_bytes, read_preferences


def write(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


MINE = {"licence": "CC0-1.0"}
PAIR = {"licence": "CC0-1.0", "prompt": "Why?", "chosen": "Because of rain.", "rejected": "No."}
LABEL = {"licence": "CC0-1.0", "prompt": "Why?", "response": "Because.", "label": "safe"}


def test_shapes_of_pairs(tmp_path):
    thought = {"content": "Rain.", "reasoning_content": "It is wet."}
    talk = [{"role": "user", "content": "Why?"}]
    rows = [
        PAIR,
        PAIR | {"chosen": "<think>\nIt is wet.\n</think>\n\nRain."},
        PAIR | {"chosen": thought, "licence": "MIT", "source": "mine", "teacher": "somebody"},
        {"messages": [{"role": "system", "content": "Be kind."}, *talk], "chosen": "Rain.", "rejected": "x"}
        | MINE,
        {
            "chosen": [*talk, {"role": "assistant", "content": "Rain."}],
            "rejected": [*talk, {"role": "assistant", "content": "x"}],
        }
        | MINE,
        LABEL,
    ]
    found = read_preferences(write(tmp_path / "p.jsonl", *rows), "helpful", 2.0)
    assert [row.id for row in found.rows] == [f"p.jsonl#{n}" for n in range(1, 6)]
    assert all(row.messages[-1] == {"role": "user", "content": "Why?"} for row in found.rows)
    assert [len(row.messages) for row in found.rows] == [1, 1, 1, 2, 1]
    better = [row.replies[0] for row in found.rows]
    assert better[0] == Reply(None, "Because of rain.")
    assert better[1] == better[2] == Reply("It is wet.", "Rain.")
    assert better[3] == better[4] == Reply(None, "Rain.")
    assert all(row.safe is None and len(row.replies) == 2 for row in found.rows)
    origin = found.rows[2].origin
    assert (origin.source, origin.licence, origin.teacher) == ("mine", "MIT", "somebody")
    assert found.rows[0].origin.source == "file:p.jsonl"


def test_labels_and_parquet(tmp_path):
    rows = [LABEL | {"label": label} for label in ("safe", "unsafe", "1", "0")]
    gaps = dict.fromkeys(PAIR | LABEL)  # Parquet has every column in every row
    pq.write_table(pa.Table.from_pylist([gaps | row for row in [*rows, PAIR]]), tmp_path / "p.parquet")
    found = read_preferences(tmp_path / "p.parquet", "safety", 2.0)
    assert [row.safe for row in found.rows] == [True, False, True, False]
    assert len(read_preferences(tmp_path / "p.parquet", "helpful", 2.0).rows) == 1
    numbers = read_preferences(
        write(tmp_path / "n.jsonl", LABEL | {"label": 1}, LABEL | {"label": 0}), "safety", 2.0
    )
    assert [row.safe for row in numbers.rows] == [True, False]


def test_ties_and_unlike_lengths_are_counted(tmp_path):
    rows = [
        PAIR | {"chosen": "a" * 60, "rejected": "b" * 30},  # twice as long: kept
        PAIR | {"chosen": "a" * 61, "rejected": "b" * 30},
        PAIR | {"chosen": "b" * 30, "rejected": "a" * 61},
        PAIR | {"chosen": "a" * 48, "rejected": ""},  # an empty one counts as 24 bytes
        PAIR | {"chosen": "a" * 49, "rejected": ""},
        PAIR | {"chosen": "是" * 20, "rejected": "b" * 30},  # 60 bytes
        PAIR | {"chosen": " same ", "rejected": "same"},
        # only the answer is judged, so other thinking makes no difference
        PAIR | {"chosen": "<think>a</think>same", "rejected": "<think>b</think>same"},
    ]
    found = read_preferences(write(tmp_path / "p.jsonl", *rows), "helpful", 2.0)
    assert found.left_out == {"ties": 2, "unlike_lengths": 3}
    assert [row.id[-1] for row in found.rows] == ["1", "4", "6"]
    assert read_preferences(tmp_path / "p.jsonl", "helpful", 3.0).left_out["unlike_lengths"] == 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1], "row 2: not an object"),
        ({"prompt": "Why?"}, "row 2: neither chosen and rejected nor response and label; it has prompt"),
        ({"prompt": "Why?", "chosen": "a"}, "row 2: neither"),
        (PAIR | {"chosen": 3}, "row 2: chosen"),
        (PAIR | {"prompt": ""}, "row 2: the prompt's last turn"),
        (PAIR | {"prompt": [{"role": "assistant", "content": "x"}]}, "row 2: the prompt's last turn"),
        (PAIR | {"prompt": [{"role": "user"}]}, "row 2: each message needs a role and a content"),
        (PAIR | {"rejected": [{"role": "user", "content": "x"}]}, "row 2: rejected: its last turn"),
        (PAIR | {"chosen": "<think>on and on"}, "row 2: chosen: <think> is never closed"),
        ({"chosen": "a", "rejected": "b"}, "row 2: no prompt and no messages"),
        (LABEL | {"label": "maybe"}, "row 2: label 'maybe' is none of"),
        (LABEL | {"label": 2}, "row 2: label 2 is none of"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, said):
    path = write(tmp_path / "p.jsonl", PAIR, row)
    for kind in ("helpful", "safety"):  # all rows are checked, whichever are wanted
        with pytest.raises(BadInput, match=said):
            read_preferences(path, kind, 2.0)


def test_files_that_hold_nothing_to_learn(tmp_path):
    with pytest.raises(BadInput, match="holds no labelled replies"):
        read_preferences(write(tmp_path / "p.jsonl", PAIR), "safety", 2.0)
    with pytest.raises(BadInput, match="holds no pairs"):
        read_preferences(write(tmp_path / "l.jsonl", LABEL), "helpful", 2.0)
    with pytest.raises(BadInput, match=r"no row is left.*'ties': 1"):
        read_preferences(write(tmp_path / "t.jsonl", PAIR | {"rejected": PAIR["chosen"]}), "helpful", 2.0)
    with pytest.raises(BadInput, match="no such file"):
        read_preferences(tmp_path / "none.jsonl", "helpful", 2.0)
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(BadInput, match="line 1: not JSON"):
        read_preferences(tmp_path / "x.jsonl", "helpful", 2.0)


def test_our_own_rows_read():
    assert len(read_preferences(OWN, "helpful", 2.0).rows) >= 160
    labels = read_preferences(OWN, "safety", 2.0).rows
    assert len(labels) >= 80
    assert sum(bool(row.safe) for row in labels) * 2 == len(labels)
    assert any(row.replies[0].reasoning for row in labels)
    assert num_bytes(Reply("thinking", "是")) == 3
