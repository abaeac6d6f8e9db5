"""Reading an answer that is a text or a choice's letter; the rules of answers.py, for words."""

import re

from shoestring.tasks.answers import SEPARATOR, STATEMENT, Found, boxed, clean, distinct, sentences, tagged

# a letter that stands alone; "A" before a small word is an article, unless the word goes on about the letter
LETTER = re.compile(
    r"(?<![A-Za-z0-9'])\(?([A-H])\)?(?![A-Za-z0-9'])"
    r"(?!(?<=A)\s+(?!(?:is|are|or|and|but|not|because|since|as|which)\b)[a-z])"
)
ALONE = re.compile(r"\W*\(?([A-Ha-h])\)?\W*")
OPTION = re.compile(r"\s*\(?([A-H])[).:,、]\)?(?=\s|$)")
OPTION_LINE = re.compile(r"^\s*\(?([A-H])[).:]\s*\S", re.MULTILINE)
DENIED = re.compile(
    r"\b(?:not|never|isn't|can't be|cannot be|rather than|instead of|unlike)\s+(?:option\s+|choice\s+)?"
    r"\(?[A-H]\)?(?![A-Za-z])"
    r"|(?<![A-Za-z])\(?[A-H]\)?\s+(?:is|are)\s+(?:wrong|incorrect|false|not\b|too\b|impossible)"
    r"|(?:不是|而不是|不选)\s*\(?[A-H]\)?|[A-H]\s*(?:不对|错误?)"
)
REASON = re.compile(r"\b(?:because|since|as|so that|although|though)\b.*|因为.*|由于.*", re.DOTALL)
CHOSEN = re.compile(r"(?:故选|应选|选择|选)\s*[项:]?\s*|\b(?:choose|pick|select)\s+(?:option\s+)?")


def same_text(text: str) -> str:
    """One spelling: spaces evened, case folded, quotes and the closing full stop off."""
    return " ".join(text.split()).casefold().strip("\"'`").removesuffix(".").strip("\"'`* ")


def find_exact(text: str, prompt: str = "") -> Found:
    """The one box or <answer> tag, else what follows "the answer is", else the whole answer."""
    marked = boxed(text) or tagged(text)
    if marked:
        return distinct(same_text(clean(content)) for content in marked)
    lines = sentences(clean(text, prompt))
    said = [tail for line in lines for tail in STATEMENT.split(line)[1:] if tail.strip()]
    if said:
        return distinct(map(same_text, said))
    whole = same_text(clean(text, prompt))
    return Found((whole,)) if whole else Found()


def find_choice(text: str, prompt: str = "") -> Found:
    """The one letter A..H that is boxed or stated, else that the last sentence with a letter names. What is
    denied ("not A", "A is wrong") or only gives a reason ("because A is small") names nothing."""
    marked = boxed(text) or tagged(text)
    if marked:
        return distinct(letter for content in marked for letter in _letters(clean(content)))
    lines = sentences(clean(text, prompt))
    said = [_letters(tail) for line in lines for tail in STATEMENT.split(line)[1:]]
    said = said or [_letters(tail) for line in lines for tail in CHOSEN.split(line)[1:]]
    lines = [line for line in lines if _letters(line)]
    if any(said) or not lines:
        return distinct(letter for letters in said for letter in letters)
    for alike in (ALONE, OPTION_LINE):  # bare letters or options, one a line, must agree
        if alike.match(lines[-1]) and (alike is OPTION_LINE or alike.fullmatch(lines[-1])):
            return distinct(m[1].upper() for m in map(alike.match, lines) if m and m[0])
    for piece in reversed(SEPARATOR.split(lines[-1])):
        if letters := _letters(piece):
            return distinct(letters)
    return Found()


def _letters(piece: str) -> list[str]:
    """The letters that a piece of a sentence names: the one it begins with, as options are written, else all
    that stand alone. Small letters count only where there is nothing else."""
    if alone := ALONE.fullmatch(piece):
        return [alone[1].upper()]
    piece = REASON.sub("", DENIED.sub(" ", piece))
    first = OPTION.match(piece)
    rest = LETTER.findall(piece[first.end() :]) if first else []
    if first and not (rest and re.match(r"[\W\d]*(?:or|and|[A-H]\b)", piece[first.end() :])):
        return [first[1]]
    return LETTER.findall(piece)
