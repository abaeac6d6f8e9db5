"""Encoding and decoding, streaming, the padding token, and tokenizers from files."""

import json
import random

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_shapes import SHAPES, random_conversations, write_tokenizer
from shoestring.errors import BadInput
from shoestring.text.tokenizer import SpecialTokens, TextStream, Tokenizer
from shoestring.text.tokenizer_files import choose_pad, load_tokenizer
from tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return {
        name: load_tokenizer(write_tokenizer(tmp_path_factory.mktemp("t"), name), ())[0] for name in SHAPES
    }


def test_special_tokens_are_not_read_out_of_text(loaded):
    tokenizer = loaded["smollm2"]
    ids = tokenizer.encode("a<|im_end|>b")
    assert tokenizer.token_id("<|im_end|>") not in ids
    assert tokenizer.decode(ids) == "a<|im_end|>b"
    assert tokenizer.token_id("no such token") is None


def test_no_token_is_added(loaded, tmp_path):
    """Even where tokenizer.json adds one to every text, as Llama's does: the template alone decides."""
    folder = write_tokenizer(tmp_path, "llama3")
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [0], "tokens": ["<|begin_of_text|>"]}
        },
    }
    raw["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    text = "What is the capital of France?"
    assert load_tokenizer(folder, ())[0].encode(text) == loaded["llama3"].encode(text)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_bytes_survive(text):
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", SHAPES)
def test_a_stream_says_what_the_whole_says(name, loaded):
    tokenizer = loaded[name]
    for messages in random_conversations(30, seed=5, plain=name.startswith("zephyr")):
        ids = tokenizer.encode(messages[-1]["content"])
        stream = TextStream(tokenizer)
        parts = [stream.push(i) for i in ids]
        assert "".join(parts) + stream.flush() == tokenizer.decode(ids)
        assert stream.flush() == ""


@pytest.mark.parametrize("name", ["smollm2", "qwen2.5", "llama3"])
def test_a_stream_of_any_ids_says_what_the_whole_says(name, loaded):
    """Broken UTF-8 too: nothing is lost, and nothing waits longer than one character."""
    tokenizer, rng = loaded[name], random.Random(2)
    for _ in range(100):
        ids = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randint(0, 40))]
        stream, told = TextStream(tokenizer), ""
        for i, token in enumerate(ids):
            told += stream.push(token)
            assert len(tokenizer.decode(ids[: i + 1])) - len(told) <= 1
        assert told + stream.flush() == tokenizer.decode(ids)


def test_an_unfinished_character_is_held_back():
    tokenizer = tiny_tokenizer()
    stream = TextStream(tokenizer)
    assert [stream.push(i) for i in tokenizer.encode("a🙂b")] == ["a", "", "", "", "🙂", "b"]
    stream.push(tokenizer.encode("é")[0])
    assert stream.flush() == "\ufffd"


# ------------------------------------------------ padding


@pytest.mark.parametrize("name", SHAPES)
def test_the_pad_never_ends_a_turn(name, loaded):
    """The files name the end-of-turn token as pad, as many do."""
    tokenizer = loaded[name]
    assert tokenizer.special.eos == SHAPES[name].eos
    assert tokenizer.pad_id != tokenizer.token_id(SHAPES[name].eos)


@pytest.mark.parametrize(
    ("specials", "declared", "ends", "expected"),
    [
        (["<s>", "<e>", "<|pad|>", "<r>"], None, [], "<|pad|>"),
        (["<s>", "<e>", "<r>", "<|reserved_1|>"], "<e>", [], "<|reserved_1|>"),
        (["<s>", "<e>", "<x>"], "<x>", [], "<x>"),  # a good one is kept
        (["<s>", "<e>", "<x>", "<y>"], "<x>", [2], "<y>"),  # one that also ends a turn is not
        (["<s>", "<e>", "<head>", "<y>"], "<e>", [], "<y>"),  # nor what the template writes
        (["<s>", "<e>", "<unk>"], "<e>", [], "<unk>"),
        (["<s>", "<e>"], "<e>", [], "ÿ"),  # with nothing to spare: a token of text
    ],
)
def test_choosing_a_pad(specials, declared, ends, expected):
    alphabet = {c: i + len(specials) for i, c in enumerate(["a", "b", "ÿ"])}
    vocab = {s: i for i, s in enumerate(specials)} | alphabet
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    backend.add_special_tokens(specials)
    unk = "<unk>" if "<unk>" in specials else None
    special = choose_pad(backend, SpecialTokens("<s>", "<e>", unk, declared), ends, "{{ '<head>' }}")
    assert special.pad == expected
    assert Tokenizer(backend, special).pad_id == vocab[expected]


# ------------------------------------------------ files


def test_names_as_objects_and_templates_in_a_file(tmp_path):
    folder = write_tokenizer(tmp_path, "smollm2")
    config = {"eos_token": {"content": "<|im_end|>", "lstrip": False}, "model_max_length": int(1e30)}
    config["chat_template"] = [{"name": "tools", "template": "no"}, {"name": "default", "template": "listed"}]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text('{"bos_token": "<|im_start|>"}')
    tokenizer, source = load_tokenizer(folder, ())
    assert (tokenizer.special.bos, tokenizer.special.eos) == ("<|im_start|>", "<|im_end|>")
    assert (source, tokenizer.max_length) == ("listed", None)
    (folder / "chat_template.jinja").write_text("from the file\r\n", newline="")
    assert load_tokenizer(folder, ())[1] == "from the file\r\n"


def test_saving_and_loading_keeps_all(loaded, tmp_path):
    loaded["smollm2"].save(tmp_path, "a template\n")
    tokenizer, source = load_tokenizer(tmp_path, ())
    assert source == "a template\n"
    assert tokenizer.special == loaded["smollm2"].special
    assert tokenizer.special_ids == loaded["smollm2"].special_ids
    assert tokenizer.encode("Let's add 12") == loaded["smollm2"].encode("Let's add 12")


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(BadInput, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path, ())
    (tmp_path / "tokenizer.json").write_text('{"version"')
    with pytest.raises(BadInput, match=r"tokenizer\.json can't be read"):
        load_tokenizer(tmp_path, ())
    write_tokenizer(tmp_path, "smollm2")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(BadInput, match=r"tokenizer_config\.json is not valid JSON"):
        load_tokenizer(tmp_path, ())
