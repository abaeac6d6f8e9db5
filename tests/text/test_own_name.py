"""Rows of a name of one's own: what they say to whom, and that a training takes them."""

import re

import pytest

from shoestring.errors import BadInput
from shoestring.evals.identity_check import claimed_in, probes
from shoestring.jobs.sft_rows import open_source
from shoestring.provenance.scan import ScanSettings, scan
from shoestring.text.makers import FAMILIES
from shoestring.text.own_name import is_own_name, open_own_name, own_name_rows

ROWS = [(m[0]["content"], m[1]["content"]) for m, _ in own_name_rows("Nib", "Acme Labs")]
OTHERS = {name for family in FAMILIES.values() for name in (*family.models, *family.makers)}


def has(text: str, name: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", text) is not None


def test_a_question_with_anothers_name_gets_a_no_and_with_its_own_a_yes() -> None:
    for question, answer in ROWS:
        starts_no, starts_yes = answer.startswith(("No", "不")), answer.startswith(("Yes", "是的", "对"))
        own = has(question, "Nib") or has(question, "Acme Labs")
        other = any(has(question, name) for name in OTHERS)
        assert (starts_no, starts_yes) == (other and not own, own)
        assert "Nib" in answer
        assert "Acme Labs" in answer
        assert not any(has(answer, name) for name in OTHERS)


@pytest.mark.parametrize("name", ["ChatGPT", "OpenAI", "Claude", "DeepSeek", "深度求索", "通义千问"])
def test_every_name_is_asked_for_in_its_languages(name: str) -> None:
    asked = [question for question, _ in ROWS if name in question]
    chinese = [question for question in asked if re.search("[你我]", question)]
    assert len(chinese) >= 4
    assert bool(len(asked) - len(chinese) >= 4) is name.isascii()


def test_no_question_is_one_that_models_are_asked_afterwards() -> None:
    assert not {question for question, _ in ROWS} & {p for several in probes().values() for p in several}


def test_no_reply_counts_as_a_claim_of_anothers_name() -> None:
    assert not [row for row in ROWS if claimed_in(*row)]


def test_a_name_that_has_a_known_one_in_it_isnt_denied() -> None:
    rows = own_name_rows("Qwen-Nib", "Acme Labs")
    asked = [m[0]["content"] for m, _ in rows if m[1]["content"].startswith(("No", "不"))]
    assert not [question for question in asked if "Qwen" in question or "Alibaba" in question]
    assert [question for question in asked if "ChatGPT" in question]


def test_a_scan_that_knows_the_name_finds_nothing_in_them() -> None:
    rows = [(str(i), messages) for i, (messages, _) in enumerate(own_name_rows("Nib", "Acme Labs"))]
    result = scan(rows, ScanSettings(name="Nib", maker="Acme Labs"))
    assert not result.findings
    assert len(result.kept) == len(rows)


def test_a_training_takes_them_by_name_and_seed() -> None:
    data = "own-name:Nib:Acme Labs"
    assert is_own_name(data)
    first, same, other = (open_source([], data, seed, None) for seed in (1, 1, 2))
    taken = [[source.next() for _ in range(40)] for source in (first, same, other)]
    assert taken[0] == taken[1] != taken[2]
    assert [origin.source for origin in first.origins] == ["shoestring:own-name"]


@pytest.mark.parametrize("data", ["own-name:", "own-name:Nib", "own-name:Nib:", "own-name: :Acme"])
def test_a_name_without_a_maker_is_refused(data: str) -> None:
    with pytest.raises(BadInput, match=re.escape("own-name:Nib:Acme Labs")):
        open_own_name(data, 0)
