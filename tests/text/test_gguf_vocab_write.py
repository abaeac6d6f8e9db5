"""A tokenizer put into a GGUF file's keys makes the same ids when it is read back, or isn't put there."""

import json

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers

from releases import known_tokenizer
from shoestring.errors import BadInput
from shoestring.text.gguf_vocab import IGNORE_MERGES, pre_tokenizer_of, tokenizer_from_gguf
from shoestring.text.gguf_vocab_write import NAMES, GGUFVocabulary, gguf_vocabulary
from shoestring.text.tokenizer import SpecialTokens, Tokenizer
from shoestring.text.train_tokenizer import train_tokenizer
from tiny import byte_tokenizer

TEXTS = ["I'LL pay 1234 €!\n\n  ok", "你好 def f(x): return x", "one two three, one two three", "12345 6"]


def metadata(found: GGUFVocabulary) -> dict:
    raw = {
        "tokenizer.ggml.model": found.model,
        "tokenizer.ggml.pre": found.pre,
        "tokenizer.ggml.tokens": found.tokens,
        "tokenizer.ggml.token_type": found.types,
        "tokenizer.ggml.merges": found.merges,
        "tokenizer.ggml.scores": found.scores,
        "tokenizer.ggml.add_space_prefix": found.space_prefix,
        "tokenizer.ggml.add_bos_token": False,
    }
    return raw | ({"tokenizer.ggml.unknown_token_id": 0} if found.model == "llama" else {})


def with_cut(name: str) -> Tokenizer:
    raw = json.loads(train_tokenizer(TEXTS * 3, 290).json)
    backend = tokenizers.Tokenizer.from_str(json.dumps(raw))
    backend.pre_tokenizer = pre_tokenizer_of(name)
    raw = json.loads(backend.to_str())
    raw["model"]["ignore_merges"] = name in IGNORE_MERGES
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(raw)), SpecialTokens(pad="<｜▁pad▁｜>"))


@pytest.mark.parametrize("name", NAMES)
def test_every_known_cut_comes_back(name):
    original = with_cut(name)
    found = gguf_vocabulary(original, original.vocab_size)
    assert (found.model, found.pre) == ("gpt2", name)
    back, _ = tokenizer_from_gguf(metadata(found), "m.gguf", [1])
    for text in TEXTS:
        assert back.encode(text) == original.encode(text)
    assert back.special_ids == original.special_ids
    assert back.own_words == original.own_words  # <think> and </think>


def test_another_cut_is_refused():
    with pytest.raises(BadInput, match=r"in none of the ways that llama.cpp knows"):
        gguf_vocabulary(byte_tokenizer([("a", "b")]), 260)


def test_bytes_alone_are_refused():
    """llama.cpp loads no tokenizer without merges."""
    backend = tokenizers.Tokenizer.from_str(known_tokenizer().json)
    raw = json.loads(backend.to_str())
    raw["model"]["merges"] = []
    bare = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(raw)), SpecialTokens(pad="<pad>"))
    with pytest.raises(BadInput, match="no merges"):
        gguf_vocabulary(bare, 260)


def test_text_that_is_changed_first_is_refused():
    raw = json.loads(known_tokenizer().json)
    backend = tokenizers.Tokenizer.from_str(json.dumps(raw))
    backend.normalizer = normalizers.Lowercase()
    with pytest.raises(BadInput, match="Lowercase"):
        gguf_vocabulary(Tokenizer(backend, SpecialTokens(pad="<pad>")), 259)


def test_other_kinds_of_tokenizers_are_refused():
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "<pad>": 1}, unk_token="a"))
    with pytest.raises(BadInput, match="WordLevel"):
        gguf_vocabulary(Tokenizer(backend, SpecialTokens(pad="<pad>")), 2)


def test_ids_that_only_the_model_has_are_marked_unused():
    found = gguf_vocabulary(known_tokenizer(), 262)
    assert found.tokens[-2:] == ["[PAD260]", "[PAD261]"]
    assert found.types[-3:] == [3, 5, 5]


def test_sentence_pieces_keep_the_order_of_their_merges():
    pieces = ["<unk>", "<s>", "</s>", "<0x21>", "▁", "a", "b", "c", "ab", "bc", "▁a", "abc"]
    merges = [("b", "c"), ("a", "b"), ("▁", "a"), ("a", "bc"), ("ab", "c")]
    model = models.BPE(
        {piece: i for i, piece in enumerate(pieces)},
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    original = Tokenizer(backend, SpecialTokens(bos="<s>", eos="</s>", unk="<unk>", pad="<unk>"))
    found = gguf_vocabulary(original, 12)
    assert (found.model, found.space_prefix) == ("llama", True)
    assert found.types == [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1]
    assert found.scores[9] > found.scores[8] > found.scores[10] > found.scores[11] > found.scores[5]
    back, _ = tokenizer_from_gguf(metadata(found), "m.gguf", [2])
    for text in ("abc", "a abc cab", "ab!c", "bcb a"):
        assert back.encode(text) == original.encode(text)
