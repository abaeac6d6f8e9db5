"""How a text is read: what is quoted is nobody's own word, and a rule sees one sentence at a time."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONGEST = (
    400  # characters of a sentence that rules see at once; a longer one is cut, so no rule can take long
)
QUOTED = "\x00"  # stands for every character of what is quoted

_QUOTES = re.compile(
    r"```(?s:.*?)(?:```|\Z)"
    r"|`[^`\n]{1,400}`"
    r'|"[^"\n]{1,400}"'
    r"|“[^“”\n]{1,400}”|「[^「」\n]{1,400}」|『[^『』\n]{1,400}』|«[^«»\n]{1,400}»"
    r"|(?<!\w)'(?:[^'\n]|'(?=\w)){3,400}'(?!\w)"
)
# a quoted name is still a name: I am called "ChatGPT"
_SPEAKS = re.compile(r"\bI\b|\bmy\b|\byou\b|[我私俺咱您你]|\b(?:soy|je|ich|mein|mon|mi|my)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]+[)\]*]*(?=\s|\Z)|[。！？]+|\n+")


@dataclass(frozen=True)
class Sentence:
    """text: without what is quoted, with plain apostrophes; as long as the original it stands for."""

    start: int
    end: int
    text: str


# letters and digits of full width; marks stay, since sentences and quotations end by them
_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＂\u3000]")
_NARROW = {ord(c): ord(c) - 0xFEE0 for c in map(chr, range(0xFF10, 0xFF5B)) if _WIDE.match(c)}
_NARROW |= {ord("＂"): ord('"'), 0x3000: ord(" ")}
_UNSEEN = re.compile("[\u200b-\u200d\u2060\ufeff\u00ad]")  # characters without width
_WRAPPED = re.compile(
    r"""\s*(?:"([^"]+)"|“([^“”]+)”|「([^「」]+)」|『([^『』]+)』|«([^«»]+)»"""
    r"""|'((?:[^']|(?<=\w)'(?=\w))+)')\s*"""
)


def plain(text: str) -> str:
    """As long as `text`, so that places stay what they are."""
    text = text.replace("’", "'").replace("\u00a0", " ")
    return text.translate(_NARROW) if _WIDE.search(text) else text


def seen(text: str) -> tuple[str, Sequence[int]]:
    """The text without characters that have no width, and the place in `text` of each that is left."""
    if _UNSEEN.search(text) is None:
        return text, range(len(text))
    places = [i for i, c in enumerate(text) if not _UNSEEN.match(c)]
    return "".join(text[i] for i in places), places


def unwrapped(text: str) -> str:
    """A text that is one quotation from end to end, its marks blanked out: as an answer it is said. Any other
    as it is."""
    match = _WRAPPED.fullmatch(text)
    if match is None or match.lastindex is None:
        return text
    start, end = match.span(match.lastindex)
    return " " * start + text[start:end] + " " * (len(text) - end)


def unquoted(text: str) -> str:
    """Quotations and code blanked out, one character for one."""
    return _QUOTES.sub(lambda m: QUOTED * len(m[0]) if _SPEAKS.search(m[0]) else m[0], text)


def sentences(text: str) -> Iterator[Sentence]:
    """In their order, without the white space around them; those over LONGEST in several pieces."""
    start = 0
    for end in (*(m.end() for m in _SENTENCE_END.finditer(text)), len(text)):
        for first in range(start, end, LONGEST):
            piece = text[first : min(first + LONGEST, end)]
            bare = piece.strip()
            if bare:
                begin = first + len(piece) - len(piece.lstrip())
                yield Sentence(begin, begin + len(bare), bare)
        start = end


def first_rule(text: str, rules: tuple[tuple[str, re.Pattern[str]], ...]) -> str:
    """The name of the first rule that the sentence meets; "" for none."""
    return next((rule for rule, pattern in rules if pattern.search(text)), "")
