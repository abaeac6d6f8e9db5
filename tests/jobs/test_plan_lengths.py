"""How long rows, prompts and replies will be, and how many there are of them."""

import json

from shoestring.budget.ranges import Range
from shoestring.jobs.plan_lengths import BEFORE, TURN, asked_of, count_tokens, different_rows, lengths_of
from shoestring.jobs.sft import SFTSettings


def test_tokens_without_a_tokenizer():
    assert count_tokens("17 + 5 = 22") == 9  # 1 7 _+ _ 5 _= _ 2 2
    assert count_tokens("你好") > 2
    short, long = lengths_of(["sums:max_terms=2"]), lengths_of(["sums:min_terms=5,max_terms=6"])
    assert short.worked
    assert long.worked
    assert long.worked > 2 * short.worked
    assert long.reply(True, 20).high == 20  # the cap is the cap
    assert long.reply(False, 100).high < 100


def test_prompts_of_a_conversation_are_read_turn_by_turn():
    asked = asked_of([("one two",), ("one two", "three")])
    assert (asked.prompts, asked.again) == (3, 1)
    one, further = BEFORE + 2, BEFORE + TURN + 3
    assert asked.read(Range.exact(10)) == Range.exact(2 * one + further + 10)


def test_rows_that_come_again_are_counted_once(tmp_path):
    data = tmp_path / "rows.jsonl"
    row = {"prompt": "1+1", "completion": "2", "licence": "mine", "source": "mine"}
    data.write_text("".join(json.dumps(row) + "\n" for _ in range(30)))
    values = {"model": "smollm2-135m", "data": str(data), "rows_per_step": 8}
    few, many = (SFTSettings(**values, steps=steps) for steps in (2, 20))
    assert different_rows(few, {}) == Range.exact(16)
    assert different_rows(many, {}) == Range.exact(30)
    endless = SFTSettings(model="smollm2-135m", suites=["sums"], rows_per_step=8, steps=20)
    assert different_rows(endless, {}) == Range.exact(160)
