"""A tokenizer trained on the spot: exact, reproducible, and the same to transformers and llama.cpp."""

import inspect
import json
import random
import string
import subprocess
import sys
import textwrap
from functools import cache

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from chat_shapes import TEXT, merges_of, random_conversations
from shoestring.errors import BadInput
from shoestring.text.gguf_vocab import tokenizer_from_gguf
from shoestring.text.message import Message, Reply
from shoestring.text.template import Template
from shoestring.text.tokenizer_files import load_tokenizer
from shoestring.text.train_tokenizer import CHAT_TEMPLATE_SOURCE, LEAST_VOCAB, SPECIAL, train_tokenizer

CORPUS = [inspect.getsource(textwrap), inspect.getsource(random), inspect.getsource(string), *TEXT]
VOCAB = 1000


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(CORPUS, VOCAB, max_length=512)


@pytest.fixture(scope="module")
def template(tokenizer):
    return Template(tokenizer, CHAT_TEMPLATE_SOURCE, (1,))


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained")
    tokenizer.save(path, CHAT_TEMPLATE_SOURCE)
    return path


@pytest.fixture(scope="module")
def theirs(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


def said(answer: str, reasoning: str | None = None) -> Message:
    if reasoning is None:
        return Message(role="assistant", content=answer)
    return Message(role="assistant", content=answer, reasoning_content=reasoning)


USER = Message(role="user", content="What is 1 + 2?")


def with_thinking(count: int, seed: int):
    rng = random.Random(seed)
    conversations = random_conversations(count, seed)
    for messages in conversations:
        for message in messages:
            if message["role"] == "assistant" and rng.random() < 0.5:
                message["reasoning_content"] = "Hm, 12 + 7\nis 19."
    return conversations


# ------------------------------------------------ the vocabulary


def test_the_ids(tokenizer):
    assert tokenizer.vocab_size == VOCAB
    assert [tokenizer.token_id(t) for t in SPECIAL] == [0, 1, 2, 3, 4]
    assert [tokenizer.token_id(t) for t in ("<think>", "</think>")] == [VOCAB - 2, VOCAB - 1]
    assert tokenizer.special_ids == {token: i for i, token in enumerate(SPECIAL)}
    assert (tokenizer.pad_id, tokenizer.max_length) == (2, 512)


def test_think_tags_are_one_id_in_text_and_role_marks_are_not(tokenizer):
    assert tokenizer.encode("<think>") == [VOCAB - 2]
    assert tokenizer.encode("</think>") == [VOCAB - 1]
    for mark in SPECIAL:
        ids = tokenizer.encode(f"a{mark}b")
        assert tokenizer.decode(ids) == f"a{mark}b"
        assert min(ids) > 4


def test_every_digit_is_a_token_unless_asked_otherwise(tokenizer):
    numbers = [f"{n} = 123456" for n in range(100)]
    assert len(tokenizer.encode("1234567")) == 7
    assert len(train_tokenizer(numbers, LEAST_VOCAB + 1).encode("123456")) == 6
    groups = train_tokenizer(numbers, LEAST_VOCAB + 5, pre="deepseek-v3")
    assert [groups.decode([i]) for i in groups.encode("123456")] == ["123", "456"]


def test_all_bytes_and_all_characters_come_back(tokenizer):
    assert all(tokenizer.token_id(c) is not None for c in pre_tokenizers.ByteLevel.alphabet())
    assert len(pre_tokenizers.ByteLevel.alphabet()) == 256
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000), *range(0x1F300, 0x1F700)]))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@cache
def small():
    return train_tokenizer(CORPUS, 600, pre="deepseek-v3")


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.sampled_from(["e\u0301", "\r\n", " "])
)
def test_nothing_is_normalised(text, more):
    assert small().decode(small().encode(text + more)) == text + more


def test_the_same_texts_in_any_order_give_the_same_tokenizer(folder, tmp_path):
    train_tokenizer(CORPUS[::-1], VOCAB, max_length=512).save(tmp_path, CHAT_TEMPLATE_SOURCE)
    for file in folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_another_process_gives_the_same_tokenizer():
    """Hash tables are seeded anew in each."""
    code = (
        "import hashlib, json, string, inspect, textwrap\n"
        "from shoestring.text.train_tokenizer import train_tokenizer\n"
        "t = train_tokenizer([inspect.getsource(textwrap), inspect.getsource(string)], 700)\n"
        "print(hashlib.sha256(json.dumps([t.decode([i]) for i in range(700)]).encode()).hexdigest())"
    )
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 65


def test_a_vocabulary_that_can_not_be(tokenizer):
    with pytest.raises(BadInput, match=r"vocab_size 262 is too small.*need at least 263"):
        train_tokenizer(CORPUS, LEAST_VOCAB - 1)
    assert train_tokenizer([], LEAST_VOCAB).vocab_size == LEAST_VOCAB  # bytes alone need no text
    with pytest.raises(
        BadInput, match=r"the 2 texts \(8 characters\) give only 3 merges.*needs 37.*at most 266"
    ):
        train_tokenizer(["abcd", "abcd"], 300)
    with pytest.raises(BadInput, match=r"the 0 texts \(0 characters\) give only 0 merges"):
        train_tokenizer(iter(()), 300)


# ------------------------------------------------ the same to others


def test_transformers_gives_the_same_ids(tokenizer, theirs):
    for messages in random_conversations(50, seed=3):
        text = "\n".join(m["content"] for m in messages) + "<think>1</think>"
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
    assert len(theirs) == VOCAB
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (0, 1, 2)
    assert theirs.model_max_length == 512
    reply = [*tokenizer.encode("<think>\nHm\n</think>\n3"), 1]
    assert theirs.decode(reply, skip_special_tokens=True) == "<think>\nHm\n</think>\n3"


def test_transformers_renders_the_same_conversations(template, theirs):
    assert theirs.chat_template == CHAT_TEMPLATE_SOURCE
    for messages in with_thinking(150, seed=5):
        prompt = messages[-1]["role"] != "assistant"
        expected = theirs.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
        assert template.render(messages, add_generation_prompt=prompt).ids == expected, messages


def test_a_saved_one_is_loaded_as_it_was(folder, tokenizer):
    loaded, source = load_tokenizer(folder, (1,))
    assert source == CHAT_TEMPLATE_SOURCE
    assert (loaded.special, loaded.special_ids) == (tokenizer.special, tokenizer.special_ids)
    assert loaded.encode(CORPUS[0]) == tokenizer.encode(CORPUS[0])


@pytest.mark.parametrize("pre", ["qwen2", "deepseek-v3"])
def test_a_gguf_of_that_name_is_read_the_same(pre, tmp_path):
    """What llama.cpp's converter would write: tokens, merges and the name of the split."""
    trained = train_tokenizer(CORPUS, 600, pre=pre)
    trained.save(tmp_path)
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    vocab = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [token for token, _ in vocab],
        "tokenizer.ggml.token_type": [3 if i < 5 else 4 if i >= 598 else 1 for _, i in vocab],
        "tokenizer.ggml.merges": merges_of(backend),
        "tokenizer.ggml.padding_token_id": 2,
    }
    read, _ = tokenizer_from_gguf(metadata, "a.gguf", (1,))
    for messages in random_conversations(50, seed=9):
        text = "\n".join(m["content"] for m in messages) + "<think>1</think>"
        assert read.encode(text) == trained.encode(text)


# ------------------------------------------------ the chat template


def test_a_conversation_is_written_as_deepseek_does(template, tokenizer):
    system = Message(role="system", content="Be short.")
    rendered = template.render([system, USER, said("3", "1 + 2\nis 3")])
    bos, eos, _, user, assistant = SPECIAL
    assert tokenizer.decode(rendered.ids) == (
        f"{bos}Be short.{user}What is 1 + 2?{assistant}<think>\n1 + 2\nis 3\n</think>\n3{eos}"
    )
    assert rendered.ids.count(0) == 1
    trained = [i for i, t in zip(rendered.ids, rendered.trained, strict=True) if t]
    assert tokenizer.decode(trained) == f"<think>\n1 + 2\nis 3\n</think>\n3{eos}"
    assert trained[0] == tokenizer.token_id("<think>")


def test_a_prompt_ends_where_the_model_begins(template):
    prompt = template.render([USER], add_generation_prompt=True)
    assert prompt.ids[-1] == 4
    assert not any(prompt.trained)
    assert template.stop_ids == (1,)
    for reply in (said("3"), said("3", "1 + 2"), said("\n 3")):
        whole = template.render([USER, reply])
        assert whole.ids[: len(prompt.ids)] == prompt.ids
        assert whole.trained == [i >= len(prompt.ids) for i in range(len(whole.ids))]


def test_old_thinking_is_dropped_and_only_old_thinking(template, tokenizer):
    old = [USER, said("3", "old thought"), USER, said("4", "new thought")]
    within = [USER, said("<think>\nold thought\n</think>\n3"), USER, said("4", "new thought")]
    without = [USER, said("3"), USER, said("4", "new thought")]
    assert template.render(old).ids == template.render(without).ids == template.render(within).ids
    text = tokenizer.decode(template.render(old).ids)
    assert "old thought" not in text
    assert "new thought" in text
    assert (
        sum(template.render(old).trained) == len(tokenizer.encode("3<think>\nnew thought\n</think>\n4")) + 2
    )


def test_a_reply_survives_rendering_and_parsing(template):
    prompt = template.render([USER], add_generation_prompt=True).ids
    for reasoning, answer in (
        (None, "3"),
        ("1 + 2\n\nis 3", "3"),
        ("Hm", ""),
        (None, ""),
        ("a < b", "x\ny\n"),
    ):
        ids = template.render([USER, said(answer, reasoning)]).ids[len(prompt) :]
        assert template.parse(ids, cut=False) == Reply(reasoning, answer)


def test_a_mark_in_a_message_stays_text(template, tokenizer):
    evil = "a" + "".join(SPECIAL)
    ids = template.render(
        [Message(role="system", content=evil), Message(role="user", content=evil), said(evil)]
    ).ids
    assert [i for i in ids if i <= 4] == [0, 3, 4, 1]
    assert tokenizer.decode(ids).count(evil) == 3


def test_what_it_can_not_write_it_refuses(template):
    system = Message(role="system", content="x")
    with pytest.raises(BadInput, match="the system message must come first"):
        template.render([USER, system])
    with pytest.raises(BadInput, match='no turn of role "critic"'):
        template.render([USER, Message(role="critic", content="x")])


def test_a_tools_result_is_a_users_turn(template, tokenizer):
    turns = [USER, said("<tool_call>{}</tool_call>"), Message(role="tool", content="x")]
    text = tokenizer.decode(template.render(turns, add_generation_prompt=True).ids)
    result = "<｜User｜><tool_response>\nx\n</tool_response><｜Assistant｜>"
    assert text.endswith(f"</tool_call><｜end▁of▁sentence｜>{result}")
    assert tokenizer.decode(template.after_calls(["x"])[0]) == result


def test_the_source_is_plain_json_text(folder):
    """The config carries it too, for readers that don't know the file."""
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["chat_template"] == CHAT_TEMPLATE_SOURCE
