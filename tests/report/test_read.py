import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.report.read import _marks


def test_open_replies_are_no_marks(tmp_path):
    def row(problem: str, outcome: str) -> dict[str, str]:
        return {"model": "m", "suite": "s", "variant": "", "problem": problem, "outcome": outcome}

    rows = [row("a", "right"), row("a", "wrong"), row("b", "open"), row("c", "unparsed")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    assert _marks(tmp_path / "items.parquet") == {("m", "s", ""): {"a": 0.5, "c": 0.0}}
