"""What a right answer took, stated confidence and whose server it was, in the report and in a study."""

import dataclasses

import pytest

from shoestring.evals.calibration import calibration
from shoestring.evals.item import Item
from shoestring.evals.server_facts import ServerFacts
from shoestring.evals.worth import by_tokens, worth
from shoestring.report.blocks import Table, Text
from shoestring.report.read import read_run
from shoestring.report.study import _score, _score_values
from shoestring.report.taken import taken_blocks

ITEMS = [
    Item(f"p{i}", 0, "q", "1", "1", "right" if i % 2 else "wrong", "", 10, 20, "stop") for i in range(40)
]
WORTH = worth(ITEMS, by_tokens(ITEMS, 2.0), unit="USD", basis="measured seconds")
NONE_RIGHT = worth([dataclasses.replace(item, outcome="wrong") for item in ITEMS])
SURE = calibration(
    [0.9 if i % 4 else 0.1 for i in range(40)], [bool(i % 2) for i in range(40)], [str(i) for i in range(40)]
)
SERVER = ServerFacts(
    "http://one", "big", ("other",), (), {"stop": 40}, {"429": 2}, 0, 0, 0, 400, 0, 800, 0, 0.0, 0.0, ""
)


@pytest.fixture(scope="module")
def report(run_folder):
    whole = read_run(run_folder)
    first, second, *rest = whole.scores
    changed = dataclasses.replace(
        first, best=True, worth=WORTH, calibration=SURE, server=tuple(SERVER.lines())
    )
    second = dataclasses.replace(second, best=True, worth=NONE_RIGHT, server=tuple(SERVER.lines()))
    return dataclasses.replace(whole, scores=(changed, second, *rest))


def test_they_stand_beside_the_scores(report):
    blocks = list(taken_blocks(report.scores[:2]))
    takes, sure = (block for block in blocks if isinstance(block, Table))
    assert takes.rows[0][2:] == (str(WORTH.tokens), str(WORTH.prompt_tokens), f"{WORTH.money_per_right} USD")
    assert takes.rows[1][2:] == ("none is right", "none is right", "")
    assert sure.rows[0][2:5] == ("40 of 40", "70.0 %", "50.0 %")
    told = [block.text for block in blocks if isinstance(block, Text)]
    assert "Money: measured seconds." in told
    assert any("calls it 'other'" in line for line in told)
    assert any("faults: 429 2" in line for line in told)


def test_a_report_without_them_says_nothing_of_them(report):
    plain = tuple(
        dataclasses.replace(score, worth=None, calibration=None, server=()) for score in report.scores
    )
    assert list(taken_blocks(plain)) == []


def test_a_study_keeps_them(report):
    problems: dict[str, dict[str, int]] = {}
    for score in report.scores[:2]:
        values = _score_values(score, report, problems)
        again = _score(values, report.units, {suite: list(names) for suite, names in problems.items()})
        assert (again.worth, again.calibration, again.server) == (
            score.worth, score.calibration, score.server,
        )  # fmt: skip


def test_all_of_them_go_to_json_and_back():
    assert type(SERVER).of(SERVER.to_json()) == SERVER
    for found in (WORTH, NONE_RIGHT, SURE):
        assert type(found).of(found.to_json()) == found
