"""What a receipt holds, what breaks it, and what two of them say of each other."""

import dataclasses
import json
import re

import pytest

from shoestring.errors import BadInput
from shoestring.evals.evaluate import evaluate
from shoestring.evals.item import load_items
from shoestring.evals.receipt import VERSION, Receipt, check
from shoestring.evals.receipt_difference import differences, explain_tokens
from shoestring.tasks.judge import Judge
from tiny import Scripted, tiny_lm

SUITE = "sums:max_digits=2,max_terms=3"


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def right(prompt: str, _: int) -> str:
    return str(sum(int(n) for n in re.findall(r"\d+", prompt.rsplit("What is", 1)[1].split("?")[0])))


def receipt(judge, lm=None, say=right, **values) -> tuple[Receipt, list]:
    lm = lm or tiny_lm()
    result = evaluate(lm, SUITE, n=6, generator=Scripted(lm, say), judge=judge, **values)
    assert result.receipt is not None
    return result.receipt, list(result.items)


def test_a_receipt_holds_for_its_replies_after_a_trip_through_files(judge, tmp_path):
    lm = tiny_lm()
    result = evaluate(lm, SUITE, n=6, generator=Scripted(lm, right), judge=judge)
    result.save_items(tmp_path / "i.parquet")
    raw = json.loads(json.dumps(result.to_json()))["receipt"]
    assert raw["version"] == VERSION
    assert (raw["correct"], raw["replies"], raw["made"]["engine"]) == (6, 6, "shoestring")
    assert raw["asking"]["max_tokens"] == 256
    assert load_items(tmp_path / "i.parquet") == list(result.items)
    assert check(raw, load_items(tmp_path / "i.parquet")) == []
    assert Receipt.of(raw) == result.receipt


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ids": (1, 2)}, "the tokens of the replies are not"),
        ({"outcome": "wrong"}, "the verdicts are not"),
        ({"prompt_sha256": "0" * 64}, "the prompts are not"),
        ({"gold": "5"}, "the problems or their right answers are not"),
    ],
)
def test_one_changed_reply_breaks_it(judge, change, fault):
    found, items = receipt(judge)
    items[0] = dataclasses.replace(items[0], **change)
    assert any(fault in said for said in check(found.to_json(), items))
    assert any("the number of replies is not" in said for said in check(found.to_json(), items[:-1]))


def test_another_versions_receipt_is_refused(judge):
    found, items = receipt(judge)
    with pytest.raises(BadInput, match="version 99; this program reads version 1"):
        check({**found.to_json(), "version": 99}, items)
    with pytest.raises(BadInput, match="not a receipt"):
        check({"version": VERSION}, items)


def test_the_first_difference_is_named(judge):
    found, _ = receipt(judge)
    assert explain_tokens(found, receipt(judge)[0]) == "the same tokens"
    longer, _ = receipt(judge, max_tokens=99)
    assert differences(found, longer) == ["max_tokens: 256 and 99"]
    other, _ = receipt(judge, tiny_lm(seed=1), say=lambda p, _: "no")
    assert differences(found, other)[0].startswith("weights: ")
    assert "the first setting that differs is weights" in explain_tokens(found, other)
    seeded, _ = receipt(judge, seed=1)
    assert differences(found, seeded)[0] == "seed: 0 and 1"
    shown, _ = receipt(judge, system="Add.")
    assert [line.partition(":")[0] for line in differences(found, shown)] == ["system", "prompts"]
    same, _ = receipt(judge, say=lambda p, _: "no")
    assert "one side is not what its receipt says" in explain_tokens(found, same)


def test_greedy_tokens_of_the_real_engine_have_one_hash(judge):
    lm = tiny_lm()
    first, second = (evaluate(lm, SUITE, n=4, max_tokens=8, judge=judge).receipt for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.tokens, first) == (second.tokens, second)
    warm = evaluate(lm, SUITE, n=4, max_tokens=8, temperature=1.0, judge=judge).receipt
    assert warm is not None
    assert warm.tokens != first.tokens
