import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.report.marks import read_marks

RIGHT = ("right", "")


def kept(tmp_path, problems):
    rows = [
        {"model": "m", "suite": "s", "variant": "", "problem": name, "outcome": outcome, "detail": detail}
        for name, samples in problems.items()
        for outcome, detail in samples
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    return read_marks(tmp_path / "items.parquet")["m", "s", ""]


def wrong(answer):
    return "wrong", f"{answer}, not 12"


def test_open_replies_are_no_marks(tmp_path):
    problems = {"a": [RIGHT, wrong("11")], "b": [("open", "")], "c": [("unparsed", "no answer found")]}
    assert kept(tmp_path, problems).shares == {"a": 0.5, "c": 0.0}


@pytest.mark.parametrize(
    ("samples", "mark"),
    [
        ([RIGHT, RIGHT, wrong("11"), wrong("13")], 1.0),  # two of four agree, the others don't
        ([RIGHT, wrong("11"), wrong("11"), RIGHT], 0.5),  # tied
        ([RIGHT, wrong("11"), wrong("11"), wrong("13")], 0.0),
        ([RIGHT, ("unparsed", "no answer found"), ("unparsed", "no answer found"), ("timeout", "")], 1.0),
        ([RIGHT, ("wrong", "several answers: 11, 12"), ("wrong", "several answers: 11, 12"), RIGHT], 1.0),
        ([("unparsed", "no answer found")] * 4, 0.0),
        # a list's answer holds commas, and one that says "right" is no vote for the right one
        ([("wrong", "1, 2, not 3, 2, 1")] * 2 + [RIGHT], 0.0),
        ([("wrong", "right, not left")] * 2 + [RIGHT], 0.0),
    ],
)
def test_most_samples_decide(tmp_path, samples, mark):
    assert kept(tmp_path, {"a": samples}).majority == {"a": mark}


def test_where_wrong_answers_cannot_be_told_apart_there_is_no_vote(tmp_path):
    """They would all be without a vote, and the right one would win with one of sixteen."""
    faults = [("wrong", "uses 7, which is not given")] * 3 + [RIGHT]
    assert kept(tmp_path, {"a": faults}).majority == {}


def test_one_sample_is_no_vote(tmp_path):
    assert kept(tmp_path, {"a": [RIGHT]}).majority == {}


def test_no_file_no_marks(tmp_path):
    assert read_marks(tmp_path / "items.parquet") == {}


def test_what_was_said_is_the_vote_where_it_was_kept(tmp_path):
    rows = [
        {"model": "m", "suite": "s", "variant": "", "problem": "a", "outcome": outcome, "said": said}
        for outcome, said in [("right", "12"), ("right", "12"), ("wrong", "11"), ("unparsed", "")]
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    assert read_marks(tmp_path / "items.parquet")["m", "s", ""].majority == {"a": 1.0}
    for row in rows:
        row["said"] = ""  # of code, say
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    assert read_marks(tmp_path / "items.parquet")["m", "s", ""].majority == {}
