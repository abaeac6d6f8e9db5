"""How a text is read: what is quoted is nobody's own word, and a rule sees one sentence at a time."""

import re
from collections.abc import Iterator
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


def plain(text: str) -> str:
    """As long as `text`, so that places stay what they are."""
    return text.replace("’", "'").replace("\u00a0", " ")


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
