"""Tokens' logprobs in OpenAI's two shapes: chat's list of entries, and the older one of four lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from shoestring.text.tokenizer import Tokenizer

FLOOR = -9999.0  # JSON has no -inf; what OpenAI writes for "never"


@dataclass(frozen=True)
class Likelihood:
    """Of one token; `top` are the likeliest at its place. logprob None: nothing came before it."""

    token: int
    logprob: float | None
    top: Mapping[int, float] = field(default_factory=dict)


class Spell:
    """How a token is written, alone; bytes where the tokenizer tells them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def text(self, token: int) -> str:
        return self._tokenizer.decode([token])

    def bytes(self, token: int) -> list[int]:
        """Of part of a character too, where its alphabet is GPT-2's; else those of its text."""
        spelled = self._words.get(token)
        if spelled is not None and all(letter in BYTES for letter in spelled):
            return [BYTES[letter] for letter in spelled]
        return list(self.text(token).encode())

    @cached_property
    def _words(self) -> dict[int, str]:
        """Only where a token decodes to what GPT-2's alphabet says; added tokens are spelled as they are."""
        special = set(self._tokenizer.special_ids.values())
        words = {i: word for word, i in self._tokenizer.vocabulary.items() if i not in special}
        space = next((i for i, word in words.items() if word == "\u0120"), None)
        return words if space is not None and self.text(space) == " " else {}


def _byte_letters() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes as themselves, the others from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


BYTES = _byte_letters()


def chat_entries(spell: Spell, likelihoods: Sequence[Likelihood], count: int) -> list[dict[str, Any]]:
    """count: alternatives to show with each."""
    return [_entry(spell, x, count) for x in likelihoods]


def _entry(spell: Spell, x: Likelihood, count: int) -> dict[str, Any]:
    alternatives = list(x.top.items())[:count]
    return {**_one(spell, x.token, x.logprob), "top_logprobs": [_one(spell, t, p) for t, p in alternatives]}


def _one(spell: Spell, token: int, logprob: float | None) -> dict[str, Any]:
    return {
        "token": spell.text(token),
        "logprob": FLOOR if logprob is None else max(FLOOR, logprob),
        "bytes": spell.bytes(token),
    }


def completion_lists(
    spell: Spell, likelihoods: Sequence[Likelihood], count: int, offset: int
) -> dict[str, list[Any]]:
    """offset: characters of the text before the first. The made token stands among the likeliest, as in the
    older API."""
    tokens = [spell.text(x.token) for x in likelihoods]
    offsets, at = [], offset
    for token in tokens:
        offsets.append(at)
        at += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [None if x.logprob is None else max(FLOOR, x.logprob) for x in likelihoods],
        "top_logprobs": [_top(spell, x, count) for x in likelihoods],
        "text_offset": offsets,
    }


def _top(spell: Spell, x: Likelihood, count: int) -> dict[str, float] | None:
    if x.logprob is None:
        return None
    top = {spell.text(token): max(FLOOR, logprob) for token, logprob in list(x.top.items())[:count]}
    return {spell.text(x.token): max(FLOOR, x.logprob)} | top if count else None
