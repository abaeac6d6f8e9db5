"""The labelled sentences, what the rules find in them, and claims planted among ordinary rows.

The bounds are below what was measured (`shoestring scan --labelled`)."""

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from shoestring.jobs.scan_figures import measure_planted
from shoestring.provenance.scan import ScanSettings, scan
from shoestring.provenance.scan_labelled import (
    PARTS,
    Score,
    chatgpt_claims,
    kinds_found,
    labelled,
    mistakes,
    planted,
    scores,
)
from shoestring.text.bilingual import part
from shoestring.text.message import assistant, user


def test_the_set_is_what_its_description_says():
    made_on, held_out = (labelled(name) for name in PARTS)
    rows = made_on + held_out
    assert len(rows) >= 600
    assert len(held_out) / len(rows) == pytest.approx(1 / 3, abs=0.01)
    assert len({row.id for row in rows}) == len({row.text for row in rows}) == len(rows)
    assert all(row.about in row.kinds for row in rows if row.kinds)
    hard = Counter(row.about for row in rows if not row.kinds)
    assert all(hard[kind] >= 25 for kind in ("identity", "cutoff", "refusal", "personal"))


def test_the_rules_find_what_they_were_made_on():
    rows = labelled("rules made on")
    wrong = mistakes(rows)
    assert len(wrong) <= 4, wrong


@pytest.mark.parametrize(
    ("kind", "language", "recall", "precision"),
    [
        ("identity", "en", 0.88, 0.95),  # measured 0.91, 1.00
        ("identity", "zh", 0.92, 0.92),  # 1.00, 1.00
        ("cutoff", "en", 0.89, 0.89),  # 1.00, 1.00
        ("cutoff", "zh", 0.8, 0.8),
        ("refusal", "en", 0.8, 0.9),  # 0.91, 1.00
        ("refusal", "zh", 0.8, 0.8),  # 1.00, 0.88
        ("personal", "en", 0.87, 0.87),
        ("personal", "zh", 0.8, 0.8),
    ],
)
def test_held_out_sentences(kind, language, recall: float, precision: float):
    score = scores(labelled("held out"))[kind, language]
    assert score.found + score.missed >= 5
    assert score.recall is not None
    assert score.precision is not None
    assert score.recall >= recall
    assert score.precision >= precision


def test_a_half_percent_of_planted_claims_is_found_and_nothing_else():
    """Measured among 12,060 rows: 60 of 60, of the held-out ways to say it 59 of 60, and no other row."""
    result = measure_planted(Console(file=io.StringIO()), rows=3000)
    for figures in result.values():
        assert figures["found"] + figures["missed"] == 15
        assert figures["recall"] >= 0.9
        assert figures["precision"] >= 0.95


def test_planted_rows_have_their_share_and_keep_the_others():
    ordinary = [messages for messages, _ in part("bilingual:en")]
    claims = chatgpt_claims(labelled("held out"))
    rows = planted(ordinary, claims, 0.05, seed=1)
    named = [row_id for row_id, _ in rows if row_id.startswith("planted")]
    assert len(named) / len(rows) == pytest.approx(0.05, abs=0.003)
    assert len({row_id for row_id, _ in rows}) == len(rows)
    assert sorted(str(m) for i, m in rows if not i.startswith("planted")) == sorted(map(str, ordinary))
    assert rows == planted(ordinary, claims, 0.05, seed=1)
    assert rows != planted(ordinary, claims, 0.05, seed=2)
    assert {claim.language for claim in claims} == {"en", "zh"}


def test_scores_count_what_is_missed_and_what_is_false():
    claim = labelled("rules made on")[0]
    blind = [replace(claim, text="Nothing to see."), replace(claim, kinds=[])]
    assert kinds_found(claim) == {"identity"}
    # the first has nothing to be found although it is labelled, the second is found though it isn't
    assert scores(blind)["identity", "en"] == Score(found=0, false=1, missed=1)
    assert {what for _, _, what in mistakes(blind)} == {"missed", "false"}
    assert Score(0, 0, 0).recall is None


def test_ordinary_rows_of_the_package_have_nothing():
    rows = [(str(i), messages) for i, (messages, _) in enumerate(part("bilingual"))]
    assert scan(rows, ScanSettings()).findings == []
    assert scan([("x", [user("Hi"), assistant("I am ChatGPT.")])], ScanSettings()).findings
