"""Keeps a special token's spelling inside a message from becoming the token: it is escaped before the
template runs, so every special token in the rendered text was put there by the template."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shoestring.text.tool_calls import WRITTEN

LEAD = "\U000f0000"  # a private-use character; its own occurrences are escaped too
# an assistant may write these, whether or not they are special tokens
OWN_WORDS = {"<think>", "</think>", *WRITTEN}
CUT = f"{LEAD}c;"  # text is encoded apart on either side, so that no token is made across it


@dataclass(frozen=True)
class Part:
    """A stretch of rendered text: one special token (`special` is its id), or text between two."""

    text: str
    special: int | None = None


class Escaper:
    def __init__(self, special_ids: Mapping[str, int]) -> None:
        self._ids = special_ids
        self._tokens = sorted(special_ids, key=lambda token: (-len(token), token))  # the longest match wins
        alternatives = "|".join(re.escape(token) for token in self._tokens)
        self._special = re.compile(alternatives or r"(?!)")
        self._codes = {token: f"{LEAD}{i + 1};" for i, token in enumerate(self._tokens)} | {LEAD: f"{LEAD}0;"}
        self._escapable = re.compile(f"{LEAD}|{alternatives}" if alternatives else LEAD)
        self._escaped = re.compile(f"{LEAD}([0-9]+);")

    def escape(self, text: str) -> str:
        return self._escapable.sub(lambda found: self._codes[found[0]], text)

    def escape_reply(self, text: str) -> str:
        """As `escape`, but the words that open and close thinking stay."""
        return self._escapable.sub(
            lambda found: found[0] if found[0] in OWN_WORDS else self._codes[found[0]], text
        )

    def inert(self, text: str, words: Iterable[str]) -> str:
        """As `escape`, for text that nobody in the conversation wrote: `words` too never become a token of
        their own, though they are not special."""
        text = self.escape(text)
        for word in words:
            text = text.replace(word, f"{word[0]}{CUT}{word[1:]}")
        return text

    def unescape(self, text: str) -> str:
        return self._escaped.sub(lambda found: [LEAD, *self._tokens][int(found[1])], text)

    def split(self, text: str, cuts: Sequence[int] = ()) -> Iterator[Part]:
        """The rendered text part by part; text is also cut at the given offsets."""
        at = 0
        for found in self._special.finditer(text):
            yield from _cut(text, at, found.start(), cuts)
            yield Part(found[0], self._ids[found[0]])
            at = found.end()
        yield from _cut(text, at, len(text), cuts)


def _cut(text: str, start: int, end: int, cuts: Sequence[int]) -> Iterator[Part]:
    inner = sorted({cut for cut in cuts if start < cut < end})
    for a, b in zip([start, *inner], [*inner, end], strict=True):
        if b > a:
            yield Part(text[a:b])
