"""Problems that stand in training texts are found, with the score without them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput
from shoestring.evals.contamination import find_overlap, training_texts, with_scores
from shoestring.evals.item import Item
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite

BAKER = (
    "A baker fills nineteen trays with twelve rolls on each of them, sells two hundred and gives the rest to "
    "the school. How many rolls does the school get?"
)
FERRY = (
    "A ferry crosses the bay eleven times on a weekday and fourteen times on a Sunday. How often in one week?"
)
SHORT = "What is 17 * 23 - 4?"


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "bench.jsonl"
    rows = [(BAKER, "28"), (FERRY, "80"), (SHORT, "387"), ("How many legs have six hens?", "12")]
    path.write_text("".join(json.dumps({"question": q, "answer": f"#### {a}"}) + "\n" for q, a in rows))
    suite = parse_suite(f"gsm8k:{path}")
    drawn = {p.key: p for p in draw_problems(suite, "test", 4, 0)}
    return [drawn[p.key] for p in suite.family.problems(suite.level)]


def items(problems, right: str, k: int = 1) -> list[Item]:
    return [
        Item(p.id, s, p.prompt, "1", "1", "right" if mark == "+" else "wrong", "", 1, 1, "stop")
        for p, mark in zip(problems, right, strict=True)
        for s in range(k)
    ]


def test_quotations_and_short_problems_are_met_and_wording_is_not(problems, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    chat = [
        {"role": "user", "content": f"Help me: {BAKER[10:120]} ..."},
        {"role": "assistant", "content": "28"},
    ]
    (folder / "a.jsonl").write_text(json.dumps({"messages": chat}) + "\nnot json\n{}\n")
    rows = [{"text": "Then she asked: what is 17 * 23 - 4? He said 387."}, {"text": "What is 17 * 23 - 5?"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "b.parquet")
    (folder / "notes.txt").write_text("Six hens have legs, and how many have two ferries crossing?")
    found = find_overlap(problems, [str(folder)])
    assert set(found.met) == {problems[0].id, problems[2].id}
    assert found.met[problems[0].id].startswith("a.jsonl row 1: ")
    assert found.met[problems[2].id] == "b.parquet row 1: what is 17 * 23 - 4 ?"
    assert found.texts == 4

    overlap = with_scores(found, items(problems, "+-+-", k=2), 2)
    assert (overlap.share, overlap.with_all.value) == (0.5, 0.5)
    assert overlap.without is not None
    assert overlap.without.value == 0.0
    assert overlap.line().startswith(
        "overlap: 2 problems (50.0 %) were met in 4 texts of training; with them 50"
    )
    assert json.loads(json.dumps(overlap.to_json()))["met"] == dict(found.met)


def test_nothing_met_and_everything_met(problems, tmp_path):
    clean = tmp_path / "clean.jsonl"
    clean.write_text(json.dumps({"prompt": "Name a colour.", "completion": "Red."}) + "\n")
    none = with_scores(find_overlap(problems, [str(clean)]), items(problems, "++--"), 1)
    assert none.line() == "overlap: no problem was met in 1 texts of training, by 13 words"
    assert none.without == none.with_all
    own = with_scores(find_overlap(problems, [str(tmp_path / "bench.jsonl")]), items(problems, "++--"), 1)
    assert (own.share, own.without) == (1.0, None)
    assert "all were" in own.line()


def test_what_can_not_be_looked_through(problems, tmp_path):
    (tmp_path / "x.bin").write_text("x")
    (tmp_path / "empty.jsonl").write_text("{}\n")
    for name, words in (
        ("none", "no such file or folder"),
        ("x.bin", "training texts are"),
        ("empty.jsonl", "holds no text"),
    ):
        with pytest.raises(BadInput, match=words):
            find_overlap(problems, [str(tmp_path / name)])
    assert list(training_texts(tmp_path / "empty.jsonl")) == []
