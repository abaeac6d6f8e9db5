"""The described dialogue of R1-Zero."""

from shoestring.lm import load
from shoestring.text.message import Reply
from shoestring.text.zero_template import DESCRIBED, zero_template
from tiny import tiny_lm


def template():
    lm = tiny_lm()
    return lm.tokenizer, zero_template(lm.tokenizer, lm.template.stop_ids)


def test_a_question_is_described_once_and_ends_where_the_assistant_begins():
    tokenizer, own = template()
    asked = own.render([{"role": "user", "content": "2 + 3?"}], add_generation_prompt=True)
    assert tokenizer.decode(asked.ids) == f"{DESCRIBED} User: 2 + 3? Assistant:"
    turns = [("user", "A?"), ("assistant", "5"), ("user", "B?")]
    longer = own.render([{"role": r, "content": c} for r, c in turns], add_generation_prompt=True)
    text = tokenizer.decode(longer.ids)
    assert text.count(DESCRIBED) == 1
    assert text.endswith("User: A? Assistant: 5<|im_end|>\nUser: B? Assistant:")
    with_system = own.render(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A?"}], True
    )
    assert tokenizer.decode(with_system.ids) == f"Be brief.\n{DESCRIBED} User: A? Assistant:"


def test_a_reply_is_trained_and_read_back():
    _, own = template()
    said = {"role": "assistant", "content": "<answer>5</answer>", "reasoning_content": "2 and 3"}
    row = own.render([{"role": "user", "content": "2 + 3?"}, said])  # type: ignore[list-item]
    first = row.trained.index(True)
    assert all(row.trained[first:])
    assert row.ids[-1] in own.stop_ids
    assert own.parse(row.ids[first:], cut=False) == Reply("2 and 3", "<answer>5</answer>")


def test_a_model_keeps_it(tmp_path):
    lm = tiny_lm()
    lm.template = zero_template(lm.tokenizer, lm.template.stop_ids)
    lm.save(tmp_path)
    again = load(str(tmp_path)).template
    asked = [{"role": "user", "content": "2 + 3?"}]
    assert again.render(asked, True) == lm.template.render(asked, True)  # type: ignore[arg-type]
    assert again.stop_ids == lm.template.stop_ids
