"""However a reply is cut into chunks, the stream tells its parts apart as `Template.parse` does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.text.stream import ReplyStream
from shoestring.text.template import Template
from shoestring.text.tokenizer import TextStream
from tiny import CHATML, tiny_tokenizer

THINKER = (  # writes reasoning_content itself, as Qwen3's does
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['reasoning_content'] %}<think>\n{{ m['reasoning_content'] }}\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPENER = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")  # opens it in the prompt
TOKENIZER = tiny_tokenizer()
TEMPLATES = {"plain": CHATML, "thinker": THINKER, "opener": OPENER}

pieces = st.sampled_from(
    ["<think>", "</think>", "<th", "<", "/think>", "\n", "\n\n", " ", "a", "2+2=4", "é", "</"]
)
replies = st.lists(pieces, max_size=9).map("".join)


def template(name: str) -> Template:
    return Template(TOKENIZER, TEMPLATES[name])


def collect(stream: ReplyStream, chunks: list[str]) -> tuple[str, str]:
    told = [piece for chunk in chunks for piece in stream.push(chunk)] + stream.flush()
    assert all(text for _, text in told)
    return tuple("".join(text for kind, text in told if kind == want) for want in ("reasoning", "answer"))


@pytest.mark.parametrize("name", TEMPLATES)
@settings(deadline=None)
@given(reply=replies, cuts=st.lists(st.integers(0, 60)))
def test_any_chunking_agrees_with_parse(name: str, reply: str, cuts: list[int]):
    whole = template(name).parse(TOKENIZER.encode(reply), cut=False)
    ends = sorted({min(cut, len(reply)) for cut in cuts} | {len(reply)})
    chunks = [reply[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert collect(template(name).stream(), chunks) == (whole.reasoning or "", whole.answer)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(deadline=None)
@given(reply=replies)
def test_ids_one_by_one_agree_with_parse(name: str, reply: str):
    ids = TOKENIZER.encode(reply)
    text = TextStream(TOKENIZER)
    chunks = [*(text.push(token) for token in ids), text.flush()]
    whole = template(name).parse(ids, cut=True)
    assert collect(template(name).stream(), chunks) == (whole.reasoning or "", whole.answer)


def test_text_is_given_as_soon_as_it_is_sure():
    stream = ReplyStream()
    assert stream.push("<thi") == []
    assert stream.push("nk>\nSo ") == [("reasoning", "So ")]
    assert stream.thinking
    assert stream.push("2<4\n") == [("reasoning", "2<4")]  # the newline may belong to the close
    assert stream.push("</thin") == []
    assert stream.push("k>\n4") == [("answer", "4")]
    assert not stream.thinking
    assert stream.push(" <think>") == [("answer", " <think>")]  # only a reply's start opens thinking


def test_half_a_tag_at_the_end_is_text():
    stream = ReplyStream()
    assert stream.push("<thin") == []
    assert stream.flush() == [("answer", "<thin")]
    stream = ReplyStream(opened=True)
    assert stream.push("so</th") == [("reasoning", "so")]
    assert stream.flush() == [("reasoning", "</th")]
