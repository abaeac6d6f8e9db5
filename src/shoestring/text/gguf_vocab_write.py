"""A tokenizer as the keys of a GGUF file. llama.cpp cuts text in ways that it knows by name, so a tokenizer
that cuts in none of them is refused: another cut would give plausible wrong ids."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import tokenizers

from shoestring.errors import BadInput
from shoestring.text.gguf_vocab import (
    BYTE,
    CONTROL,
    IGNORE_MERGES,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    pre_tokenizer_of,
)
from shoestring.text.tokenizer import Tokenizer

# one name for each way of cutting
NAMES = (
    "qwen2",
    "llama-bpe",
    "deepseek-v3",
    "deepseek-llm",
    "deepseek-coder",
    "smollm",
    "gpt-2",
)
LEAST_SCORE = -1e6  # of a piece that no merge makes
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class GGUFVocabulary:
    """model is "gpt2" (byte-level, with merges) or "llama" (SentencePiece, with scores). types are
    llama.cpp's token types."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    space_prefix: bool


def gguf_vocabulary(tokenizer: Tokenizer, size: int) -> GGUFVocabulary:
    """size: ids that the model has; those beyond the tokenizer's are marked unused. Raises BadInput."""
    raw = json.loads(tokenizer.json)
    model = raw.get("model") or {}
    if model.get("type") != "BPE":
        raise BadInput(f"a tokenizer of type {model.get('type')} can't be put into a GGUF file; BPE ones can")
    by_id = {i: token for token, i in tokenizer.vocabulary.items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(size)]
    added = {token["id"]: bool(token["special"]) for token in raw.get("added_tokens", [])}
    sentence_piece = bool(model.get("byte_fallback"))
    types = [_type(i, by_id.get(i), added, sentence_piece, tokenizer.special.unk) for i in range(size)]
    pairs = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model.get("merges", [])]
    if sentence_piece:
        scores = _scores(pairs, tokens, types)
        return GGUFVocabulary("llama", "default", tokens, types, [], scores, _prefixes(raw))
    if not pairs:
        raise BadInput("the tokenizer has no merges, and llama.cpp loads none without; write --format hf")
    pre = pre_name(raw)
    merges = [f"{left} {right}" for left, right in pairs]
    return GGUFVocabulary("gpt2", pre, tokens, types, merges, [], False)


def pre_name(raw: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a tokenizer.json cuts text before it merges. Raises BadInput where it has
    none."""
    cut = _plain(raw.get("pre_tokenizer"))
    changes = (raw.get("normalizer") or {}).get("type", "NFC")
    if changes != "NFC":  # which llama.cpp leaves out, and which changes few texts
        raise BadInput(f"the tokenizer changes text before it cuts it ({changes}), which llama.cpp doesn't")
    whole_words = bool(raw["model"].get("ignore_merges"))
    for name in NAMES:
        if cut == _known(name) and whole_words == (name in IGNORE_MERGES):
            return name
    raise BadInput(
        "the tokenizer cuts text in none of the ways that llama.cpp knows by name, so a GGUF file "
        f"would be read wrongly; it can be exported as an HF folder (known: {', '.join(NAMES)})"
    )


@cache
def _known(name: str) -> str:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = pre_tokenizer_of(name)
    return _plain(json.loads(backend.to_str())["pre_tokenizer"])


def _plain(part: Any) -> str:
    """Without what changes no id: offsets, and the nesting of sequences."""
    found: list[Any] = []

    def walk(one: Any) -> None:
        if isinstance(one, dict) and one.get("type") == "Sequence":
            for inner in one["pretokenizers"]:
                walk(inner)
        elif isinstance(one, dict):
            found.append({key: value for key, value in one.items() if key != "trim_offsets"})

    walk(part)
    return json.dumps(found, sort_keys=True)


def _type(i: int, token: str | None, added: Mapping[int, bool], pieces: bool, unk: str | None) -> int:
    if token is None:
        return UNUSED
    if token == unk and pieces:
        return UNKNOWN
    if i in added:
        return CONTROL if added[i] else USER_DEFINED
    return BYTE if pieces and BYTE_PIECE.fullmatch(token) else NORMAL


def _scores(pairs: list[tuple[str, ...]], tokens: list[str], types: list[int]) -> list[float]:
    """SentencePiece joins the neighbours whose joint scores best: the joint's score is the rank of the first
    merge that makes it, so the order of merges is kept."""
    rank: dict[str, int] = {}
    for number, pair in enumerate(pairs):
        rank.setdefault("".join(pair), number)
    plain = (NORMAL, USER_DEFINED)
    return [
        -float(rank[token]) if token in rank else (LEAST_SCORE if kind in plain else 0.0)
        for token, kind in zip(tokens, types, strict=True)
    ]


def _prefixes(raw: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text's first word."""
    text = json.dumps([raw.get("normalizer"), raw.get("pre_tokenizer")])
    return '"Prepend"' in text or ('"Metaspace"' in text and '"prepend_scheme": "never"' not in text)
