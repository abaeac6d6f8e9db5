"""A text without what the scan found in it: names become one's own, stock sentences go, personal data is
masked."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.provenance.scan_find import said
from shoestring.provenance.scan_personal import PLACEHOLDERS
from shoestring.provenance.scan_text import Hit
from shoestring.text.makers import names_but

_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Own:
    """Who the student is to say that it is; "" where it isn't known."""

    name: str = ""
    maker: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, self.maker)


def rewritten(text: str, hits: Sequence[Hit], own: Own) -> str:
    """`text` with these hits mended. A claim that can't be put into one's own names is taken out."""
    private = sorted((hit for hit in hits if hit.kind == "personal"), key=lambda hit: hit.start)
    spoken: dict[tuple[int, int], set[str]] = {}
    for hit in hits:
        if hit.kind != "personal":
            spoken.setdefault((hit.start, hit.end), set()).add(hit.kind)
    pieces, at = [""], 0
    for (start, end), kinds in sorted(spoken.items()):
        _add(pieces, _masked(text, at, start, private))
        sentence = _masked(text, start, end, private)
        pieces.append(_in_own_names(sentence, own) if kinds == {"identity"} else "")
        at = end
    _add(pieces, _masked(text, at, len(text), private))
    return "".join(pieces).strip() if spoken else pieces[-1]


def _add(pieces: list[str], text: str) -> None:
    """Where a sentence is gone, its space goes too, and its line where it stood alone."""
    if not pieces[-1]:
        text = text.lstrip(" ") if len(pieces) > 1 else text
        if "".join(pieces[-3:]).endswith("\n") and len(pieces) > 1:
            text = text.lstrip("\n")
    if text:
        pieces.append(text)


def _masked(text: str, start: int, end: int, private: Sequence[Hit]) -> str:
    """text[start:end] with placeholders for the personal data that begins in it."""
    pieces, at = [], start
    first = bisect_left(private, start, key=lambda hit: hit.start)
    for hit in private[first : bisect_left(private, end, key=lambda hit: hit.start)]:
        pieces += [text[at : hit.start], PLACEHOLDERS[hit.rule]]
        at = hit.end
    return "".join([*pieces, text[at:end]])


def _in_own_names(sentence: str, own: Own) -> str:
    """The sentence with one's own names; "" where that needs a name that isn't given, or still claims."""
    names = names_but(*own.names)
    kinds = [match.lastgroup for match in names.pattern.finditer(sentence)]
    if ("model" in kinds and not own.name) or ("maker" in kinds and not own.maker) or not kinds:
        return ""
    if kinds.count("model") > 1 or kinds.count("maker") > 1:
        return _introduction(sentence, own)  # "ChatGPT, based on GPT-4" would become "X, based on X"
    put = names.pattern.sub(lambda m: own.name if m.lastgroup == "model" else own.maker, sentence)
    return "" if any(hit.kind == "identity" for hit in said(put, own.names)) else put


def _introduction(sentence: str, own: Own) -> str:
    if _CHINESE.search(sentence):
        return f"我是{own.name}，由{own.maker}开发。" if own.name and own.maker else ""
    return f"I am {own.name}, made by {own.maker}." if own.name and own.maker else ""
