"""Where in a reply the answer stands: boxes or <answer> tags, else "the answer is ...", else the last
sentence with a value in it. All that one rule finds counts: a list of candidates is several answers."""

import re
from dataclasses import dataclass

from shoestring.tasks.answers import MAX_CHARS, SEPARATOR, STATEMENT, WIDE, boxed, tagged
from shoestring.tasks.exact import Unreadable
from shoestring.tasks.maths_reader import read
from shoestring.tasks.maths_units import takes_back

END = re.compile(r"(?<=[.?;])(?=\s)|(?<=[^\d)}\]\s]!)(?=\s)|\n")
MAX_SENTENCE = 1_000  # characters: nobody states an answer in a longer one
MAX_LINES = 60  # from the end
MAX_STATED = 12  # answers: with more, it is a list of candidates whatever they are
SPAN = re.compile(
    r"\$\$(.{1,1000}?)\$\$|\\\[(.{1,1000}?)\\\]|\\\((.{1,1000}?)\\\)|(?<!\\)\$([^$\n]{1,1000}?)(?<!\\)\$",
    re.DOTALL,
)
REASON = re.compile(
    r"\s*[,;(]?\s*\b(?:because|since|as|so|which|where|when|for|hence|thus|but|if|with|by|i\.e\.)\b.*",
    re.DOTALL,
)
LEAD = re.compile(r"(?:[A-Za-z']{2,}|[aA])\s+")
HAS_VALUE = re.compile(r"\d|\\[a-z]+|[=π√∞∅½¼¾]|^\W*[a-zA-Z]\W*$")
HEADING = re.compile(r"^\s*(?:#{1,6}\s+|>\s+|[-*•]\s+(?=\D)|\(?\d{1,2}[.)]\s+(?=\S))", re.MULTILINE)
TAKEN_BACK = re.compile(r"\b(?:not|never|isn't|cannot|can't|wrong|incorrect)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Stated:
    """texts: what is said to be the answer. marked: a box or tag says so, so that what can't be read there
    is a wrong answer and not a missing one."""

    texts: tuple[str, ...] = ()
    marked: bool = False


def find_maths(text: str, prompt: str = "") -> Stated:
    if len(text) > MAX_CHARS:
        return Stated()
    if prompt:
        text = text.replace(prompt, "\n")
    text = re.sub(r"[ \t]+", " ", text)
    marked = [inner for content in tagged(text) for inner in (boxed(content) or [content])] or boxed(text)
    if marked:
        return Stated(tuple(dict.fromkeys(_inside(content) for content in marked))[:MAX_STATED], marked=True)
    lines = _sentences(text)
    said = [tail.strip() for line in lines for tail in STATEMENT.split(line)[1:] if tail.strip(" .*:$")]
    if said:
        return Stated(tuple(dict.fromkeys(_best(tail, statement=True) for tail in said[:MAX_STATED])))
    lines = [line for line in lines if HAS_VALUE.search(line)][-MAX_LINES:]
    if not lines:
        return Stated()
    bare = [line for line in lines if _readable(line)]
    if lines[-1] in bare and len(bare) > 1 and not any("=" in line for line in bare):
        return Stated(
            tuple(dict.fromkeys(bare))[:MAX_STATED]
        )  # values alone on their lines: candidates, one a line
    return Stated((_best(lines[-1], statement=False),))


def _inside(content: str) -> str:
    return SPAN.sub(_content, content).strip().translate(WIDE)


def _content(match: re.Match[str]) -> str:
    return f" {next(part for part in match.groups() if part is not None)} "


def _sentences(text: str) -> list[str]:
    """Statements only, LaTeX without its dollars, each formula in one piece; questions are left out."""
    text = SPAN.sub(lambda m: _content(m).replace("\n", " ").replace("! ", "!"), text)
    text = HEADING.sub("", text.translate(WIDE))
    text = re.sub(
        r"\*\*(?=[^\s\d])|(?<=[^\s(\d])\*\*(?=\W|$)|\*\*(?=\d[^*]*\*\*)|(?<=[\d.])\*\*(?=\s|$)|__|`", "", text
    )
    parts = (part.strip() for part in END.split(text))
    return [part for part in parts if 0 < len(part) <= MAX_SENTENCE and not part.endswith("?")]


def _best(sentence: str, statement: bool) -> str:
    """The first of these that reads as a value: the whole, without the reason after it, after the last
    separator, without the words before it. Where none does, the first, for the second reader."""
    tries = [sentence, REASON.sub("", sentence)]
    if not TAKEN_BACK.search(sentence):
        pieces = SEPARATOR.split(tries[-1]) if not re.search(r"[<>]|\\[lg]e", sentence) else [tries[-1]]
        tries += [piece for piece in pieces[:0:-1] if HAS_VALUE.search(piece)][: 1 if statement else 2]
        tries += [_without_words(each) for each in list(tries)]
    for each in tries:
        if _readable(each):
            return each
    return tries[0]


def _without_words(text: str) -> str:
    """Without the words before the value, unless they say that it isn't the value ("less than 1/2")."""
    rest = text
    while match := LEAD.match(rest):
        if takes_back([match[0].strip()]):
            return text
        rest = rest[match.end() :]
    return rest


def _readable(text: str) -> bool:
    try:
        read(text)
    except Unreadable:
        return False
    return True
