"""Right replies read back: a broken template, parser or verifier is named before training."""

import dataclasses
import json

import pytest

from shoestring.rl.readers import read_back, reader_faults
from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply
from shoestring.text.template import Template
from tiny import CHATML, tiny_lm

SUITES = [parse_suite(s) for s in ("sums:max_terms=2", "equations", "countdown", "letters")]
STRIPS = CHATML.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}")


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


class Unreading:
    """A verifier that finds no answer in anything."""

    def score(self, rows, lenient=False):
        return {name: Verdict(Outcome.UNPARSED, 0.0, detail="no answer found") for name, _, _ in rows}


def test_all_is_well(judge):
    read = read_back(SUITES, tiny_lm().template, seed=0)
    assert len(read) >= 12
    assert all(r.read == r.written and r.ended for r in read)
    assert reader_faults(read, judge) == []


def test_the_other_suites_answers_are_read_too(judge, tmp_path):
    rows = tmp_path / "own.jsonl"
    asked = [{"question": f"Is it {i}?", "answer": "ABCD"[i % 4]} for i in range(40)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in asked))
    read = read_back([parse_suite(str(rows))], tiny_lm().template, seed=0)
    assert len(read) >= 3
    assert reader_faults(read, judge) == []


def test_a_template_that_strips_thinking(judge, monkeypatch):
    lm = tiny_lm(template=STRIPS)  # where only the template does, the reply is written after its prompt
    assert reader_faults(read_back(SUITES, lm.template, 0), judge) == []
    parse = Template.parse
    monkeypatch.setattr(
        Template, "parse", lambda self, ids, cut: dataclasses.replace(parse(self, ids, cut), reasoning=None)
    )
    assert [f.name for f in reader_faults(read_back(SUITES, lm.template, 0), judge)] == [
        "template strips thinking"
    ]


def test_a_broken_parser(judge, monkeypatch):
    lm = tiny_lm()
    monkeypatch.setattr(Template, "parse", lambda self, ids, cut: Reply("all of it", "", cut))
    faults = reader_faults(read_back(SUITES, lm.template, 0), judge)
    assert [f.name for f in faults] == ["parser broken"]
    assert "unparsed" in faults[0].evidence


def test_a_broken_verifier():
    faults = reader_faults(read_back(SUITES, tiny_lm().template, 0), Unreading())  # type: ignore[arg-type]
    assert [f.name for f in faults] == ["parser broken"]


def test_an_end_of_turn_that_isnt_trained(judge, monkeypatch):
    lm = tiny_lm()
    render = Template.render

    def without_end(self, messages, add_generation_prompt=False, row_id=""):
        whole = render(self, messages, add_generation_prompt, row_id)
        trained = [t and i not in self.stop_ids for i, t in zip(whole.ids, whole.trained, strict=True)]
        return dataclasses.replace(whole, trained=trained)

    monkeypatch.setattr(Template, "render", without_end)
    assert [f.name for f in reader_faults(read_back(SUITES, lm.template, 0), judge)] == ["pad = eos"]
