"""Tokenizers from GGUF metadata: how each `pre` cuts text, and SentencePiece against a plain version."""

import random
from itertools import pairwise

import pytest
import tokenizers

from chat_shapes import CHATML, SMOL, TEXT, byte_level, trained_tokenizer
from shoestring.errors import BadInput
from shoestring.text.gguf_vocab import tokenizer_from_gguf

SAMPLE = "I'LL pay 1234 €!\n\n  ok"
CUTS = {
    "gpt-2": ["I", "'", "LL", " pay", " 1234", " €!", "\n\n ", " ok"],
    "default": ["I", "'", "LL", " pay", " 1234", " €!", "\n\n ", " ok"],
    "smollm": ["I", "'", "LL", " pay", " ", "1", "2", "3", "4", " €!", "\n\n ", " ok"],
    "qwen2": ["I", "'LL", " pay", " ", "1", "2", "3", "4", " €!\n\n", " ", " ok"],
    "deepseek-r1-qwen": ["I", "'LL", " pay", " ", "1", "2", "3", "4", " €!\n\n", " ", " ok"],
    "llama-bpe": ["I", "'LL", " pay", " ", "123", "4", " €!\n\n", " ", " ok"],
    "deepseek-v3": ["I", "'LL", " pay", " ", "123", "4", " €!\n\n", " ", " ok"],
    "deepseek-llm": ["I", "'", "LL", " pay", " ", "1", "2", "3", "4", " ", "€", "!", "\n", "\n", " ", " ok"],
    "deepseek-coder": [
        "I",
        "'",
        "LL",
        " pay",
        " ",
        "1",
        "2",
        "3",
        "4",
        " ",
        "€",
        "!",
        "\n",
        "\n",
        " ",
        " ok",
    ],
}


@pytest.mark.parametrize("pre", CUTS)
def test_how_text_is_cut(pre):
    tokenizer, _ = tokenizer_from_gguf(byte_level(pre), "m.gguf", [2])
    pieces = tokenizer._backend.pre_tokenizer.pre_tokenize_str(SAMPLE)
    assert [SAMPLE[a:b] for _, (a, b) in pieces] == CUTS[pre]


@pytest.mark.parametrize(
    ("pre", "split"), [("smollm", "smollm"), ("qwen2", "qwen2"), ("llama-bpe", "llama3")]
)
def test_ids_equal_the_tokenizer_that_the_file_was_made_from(pre, split):
    tokenizer, source = tokenizer_from_gguf(byte_level(pre, split), "m.gguf", [2])
    original = tokenizers.Tokenizer.from_str(trained_tokenizer(split, CHATML, ("<think>",)))
    original.encode_special_tokens = True
    rng = random.Random(0)
    for _ in range(100):
        text = "".join(rng.choices([*"".join(TEXT), "<think>", "<|im_end|>", " 123"], k=60))
        assert tokenizer.encode(text) == original.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert source == SMOL
    assert tokenizer.special_ids == {token: i for i, token in enumerate(CHATML)}
    assert (tokenizer.special.bos, tokenizer.special.eos) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.special.pad == "<|reserved_0|>"  # the file's own is its end of turn


def test_qwen_normalises_and_llama_takes_whole_words():
    tokenizer, _ = tokenizer_from_gguf(byte_level("qwen2", "qwen2"), "m.gguf", [2])
    assert tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9")
    words = byte_level("llama-bpe", "llama3")
    words["tokenizer.ggml.tokens"].append("zqzqz")  # a token that no merge makes
    words["tokenizer.ggml.token_type"].append(1)
    tokenizer, _ = tokenizer_from_gguf(words, "m.gguf", [2])
    assert tokenizer.encode("zqzqz") == [tokenizer.vocab_size - 1]


def test_a_beginning_token_is_recorded_for_others_but_never_added_here():
    metadata = byte_level("smollm") | {"tokenizer.ggml.add_bos_token": True}
    tokenizer, _ = tokenizer_from_gguf(metadata, "m.gguf", [2])
    assert tokenizers.Tokenizer.from_str(tokenizer._json).encode("a").ids[0] == 1
    assert tokenizer.encode("a")[0] != 1


# ------------------------------------------------ SentencePiece


def sentence_piece(add_space_prefix: bool = True):
    rng = random.Random(1)
    words = ["▁", *"abcdeäh", *("▁" + c for c in "abcde")]
    words += sorted(
        {"".join(rng.choices("abcde▁", k=k)) for k in (2, 2, 3, 3, 4, 5) for _ in range(15)} - set(words)
    )
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *words]
    scores = [0.0] * 259 + [-float(x) for x in rng.sample(range(len(words)), len(words))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * len(words)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": add_space_prefix,
    }


def merged(text: str, metadata) -> list[int]:
    """The rule in plain words: join the neighbours whose joint token scores best, leftmost first."""
    ids = {token: i for i, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    scores = metadata["tokenizer.ggml.scores"]
    parts = list(text)
    while True:
        joints = [(-scores[ids[a + b]], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ids]
        if not joints:
            break
        _, i = min(joints)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    found: list[int] = []
    for part in parts:
        found += [ids[part]] if part in ids else [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
    return found


@pytest.mark.parametrize("prefix", [True, False])
def test_sentence_piece(prefix):
    metadata = sentence_piece(prefix)
    tokenizer, _ = tokenizer_from_gguf(metadata, "m.gguf", [2])
    rng = random.Random(4)
    for _ in range(200):
        text = "".join(rng.choices("abcde ä🙂x", k=rng.randint(1, 30)))
        ids = tokenizer.encode(text)
        assert ids == merged(("▁" if prefix else "") + text.replace(" ", "▁"), metadata), text
        assert tokenizer.decode(ids) == text
    assert tokenizer.pad_id == 0  # nothing else is to spare
    assert tokenizer.encode_after("b", special=False) == merged("b", metadata)


# ------------------------------------------------ what can't be read


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokenizer.ggml.pre": "tekken"}, "pre-tokenizer 'tekken' is not supported; supported: command-r, "),
        ({"tokenizer.ggml.model": "t5"}, "tokenizer model 't5' is not supported; supported: gpt2, llama"),
        ({"tokenizer.ggml.tokens": None}, "carries no tokenizer"),
        ({"tokenizer.ggml.merges": ["zz qq"]}, "merges don't fit its tokens"),
        ({"tokenizer.ggml.merges": ["alone"]}, "merges don't fit its tokens"),
        ({"tokenizer.ggml.model": "llama"}, "scores are missing"),
        ({"tokenizer.ggml.eos_token_id": "x"}, "eos_token_id"),
    ],
)
def test_tokenizers_that_are_refused(change, says):
    with pytest.raises(BadInput, match=says) as caught:
        tokenizer_from_gguf(byte_level("smollm") | change, "m.gguf", [2])
    assert str(caught.value).startswith("m.gguf")
    assert "\n" not in str(caught.value)
