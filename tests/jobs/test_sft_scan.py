import json

import pytest

from shoestring.errors import BadInput
from shoestring.jobs.planted import PLANTED, SHARE, planted_rows
from shoestring.jobs.sft import open_rows
from shoestring.jobs.sft_scan import scan_rows
from shoestring.origin import Lineage
from shoestring.provenance.scan import ScanSettings
from training_runs import run, save_base, sft_settings

CLAIM = "I am ChatGPT, a large language model trained by OpenAI."


class Said:
    """A stage that keeps what it says."""

    def __init__(self, folder):
        self.folder, self.lines = folder, []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        ("Who are you?", CLAIM),
        ("2 + 2?", "4"),
        ("Hi", "Hello. Write to anna.keller@posteo.net."),
        ("3 + 3?", "6"),
    ]
    own = {"source": "test", "licence": "CC0-1.0"}
    path.write_text("".join(json.dumps({"prompt": p, "completion": c, **own}) + "\n" for p, c in rows))
    return path


def settings(base, data, **changed):
    return sft_settings(base, suites=[], data=str(data), steps=2, **changed)


def contents(rows):
    return [messages[-1]["content"] for messages, _ in rows.rows]


def test_without_the_setting_nothing_is_changed_and_claims_are_told(base, data, tmp_path):
    rows, stage = open_rows(settings(base, data)), Said(tmp_path)
    scan_rows(rows, None, stage)
    assert len(rows.rows) == 4
    (line,) = stage.lines
    assert "identity in 1" in line
    assert "scan = {} drops them" in line
    findings = (tmp_path / "scan/findings.jsonl").read_text().splitlines()
    assert json.loads(findings[0])["row"] == "rows.jsonl#1"


def test_rows_are_dropped_and_rewritten_and_keep_their_numbers(base, data, tmp_path):
    told = settings(base, data, scan={})
    rows, stage = open_rows(told), Said(tmp_path)
    scan_rows(rows, told.scan, stage)
    assert contents(rows) == ["4", "Hello. Write to [e-mail].", "6"]
    assert {rows.row_id(place) for place in range(3)} == {f"rows.jsonl#{n}" for n in (2, 3, 4)}
    assert {rows.next()[1] for _ in range(3)} == {f"rows.jsonl#{n}" for n in (2, 3, 4)}
    assert json.loads((tmp_path / "scan/scan.json").read_text())["dropped"] == 1


def test_each_source_of_a_mixture_is_scanned(base, data, tmp_path):
    sources = [{"data": str(data)}, {"suites": ["sums:max_terms=2,max_digits=1"]}, {"data": "bilingual"}]
    told = sft_settings(base, suites=[], sources=sources, scan={})
    rows, stage = open_rows(told), Said(tmp_path)
    scan_rows(rows, told.scan, stage)
    assert len(rows.sources[0].rows) == 3
    assert "test" in {origin.source for origin in rows.origins}
    assert (tmp_path / "scan-1/rewritten.diff").exists()


def test_a_scan_that_leaves_nothing_is_refused(base, data, tmp_path):
    data.write_text(data.read_text().splitlines()[0] + "\n")
    told = settings(base, data, scan={})
    with pytest.raises(BadInput, match="leaves no row"):
        scan_rows(open_rows(told), told.scan, Said(tmp_path))


def test_a_stage_learns_from_what_is_left_and_the_lineage_says_how(base, data, tmp_path):
    run(settings(base, data, scan={"name": "Nib"}), tmp_path / "s")
    assert (tmp_path / "s/scan/scan.json").exists()
    own = Lineage.load(tmp_path / "s/model").stages[-1]
    assert [o.source for o in own.origins] == ["test"]


def test_planted_rows_are_half_a_percent_and_the_scan_leaves_at_most_one(base, tmp_path):
    rows = planted_rows()
    planted = sum(origin.source == "shoestring:planted" for _, origin in rows)
    assert (len(rows), planted) == (12_060, round(SHARE * 12_060))
    told = settings(base, PLANTED, scan={})
    source, stage = open_rows(told), Said(tmp_path)
    scan_rows(source, told.scan, stage)
    left = [m[-1]["content"] for m, origin in source.rows if origin.source == "shoestring:planted"]
    assert len(left) <= 1  # docs/scan.md: 59 of 60 are found
    assert len(source.rows) == 12_000 + len(left)  # and no other row is dropped


def test_rows_of_its_own_name_are_left_as_they_are(base, tmp_path):
    own = settings(base, "own-name:Nib:Acme Labs")
    for asked in (None, ScanSettings()):
        rows, stage = open_rows(own), Said(tmp_path)
        before = len(rows.rows)
        scan_rows(rows, asked, stage)
        assert (len(rows.rows), stage.lines) == (before, [])
