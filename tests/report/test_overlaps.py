"""What of the tests stands in the training, and what else qualifies a score, in the report and in a study."""

import dataclasses

import pytest

from shoestring.evals.contamination import Overlap
from shoestring.evals.shape import Shape
from shoestring.evals.statistics import Estimate, wilson
from shoestring.report.blocks import Table, Text
from shoestring.report.overlaps import overlap_blocks
from shoestring.report.read import read_run
from shoestring.report.results import score_blocks
from shoestring.report.study import _score, _score_values

MET = {f"p{i}": f"rows.jsonl row {i}: a run of words" for i in range(12)}
FOUND = Overlap(
    ("rows.jsonl",), 500, 13, MET, 12 / 256, Estimate(0.5, wilson(128, 256)), Estimate(0.48, wilson(117, 244))
)
SHAPE = Shape(1.0, None, 20.0, None, None, 0.0, 0.0, 0)


@pytest.fixture(scope="module")
def report(run_folder):
    whole = read_run(run_folder)
    first, *rest = whole.scores
    cons = Estimate(0.6, wilson(154, 256))
    changed = dataclasses.replace(
        first, overlap=FOUND, empty=13, lost=5, errors=3, cons=cons, k=4, shape=SHAPE, best=True
    )
    return dataclasses.replace(whole, scores=(changed, *rest))


def test_which_were_met_with_the_score_with_and_without_them(report):
    blocks = list(overlap_blocks(report))
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert table.rows[0][2:] == ("500", "12 of 256", str(FOUND.with_all), str(FOUND.without))
    told = [block.text for block in blocks if isinstance(block, Text)]
    assert "p0: rows.jsonl row 0: a run of words" in told
    assert told[-1] == "and 2 more."
    assert list(overlap_blocks(dataclasses.replace(report, scores=report.scores[1:]))) == []


def test_what_was_not_judged_or_said_nothing_stands_beside_the_score(report):
    tables = [block for block in score_blocks(report) if isinstance(block, Table)]
    (replies,) = (table for table in tables if "empty" in table.header)
    row = dict(zip(replies.header, replies.rows[0], strict=True))
    replied = 4 * 256
    assert row["empty"] == f"{100 * 13 / replied:.1f} %"
    assert (row["timeout"], row["error"]) == (f"{100 * 2 / replied:.1f} %", f"{100 * 3 / replied:.1f} %")
    assert row["cons@4"].startswith("60.0 % [")


def test_a_study_keeps_it(report):
    problems: dict[str, dict[str, int]] = {}
    first = report.scores[0]
    values = _score_values(first, report, problems)
    again = _score(values, report.units, {suite: list(names) for suite, names in problems.items()})
    assert (again.overlap, again.cons, again.empty) == (first.overlap, first.cons, 13)
