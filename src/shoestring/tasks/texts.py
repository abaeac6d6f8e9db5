"""Reading an answer that is a text or a choice's letter; the rules of answers.py, for words."""

import re

from shoestring.tasks.answers import BOXED, SEPARATOR, STATEMENT, Found, clean, distinct, sentences, tagged

LETTER = re.compile(r"(?<![\w'])\(?([A-H])\)?(?![\w'])")


def same_text(text: str) -> str:
    """One spelling: spaces evened, case folded, quotes and the closing full stop off."""
    return " ".join(text.split()).casefold().strip("\"'`").removesuffix(".").strip("\"'`* ")


def find_exact(text: str, prompt: str = "") -> Found:
    """The one box or <answer> tag, else what follows "the answer is", else the whole answer."""
    marked = BOXED.findall(text) or tagged(text)
    if marked:
        return distinct(map(same_text, marked))
    lines = sentences(clean(text, prompt))
    said = [tail for line in lines for tail in STATEMENT.split(line)[1:] if tail.strip()]
    if said:
        return distinct(map(same_text, said))
    whole = same_text(clean(text, prompt))
    return Found((whole,)) if whole else Found()


def find_choice(text: str, prompt: str = "") -> Found:
    """The one letter A..H that is boxed or stated, else that the last sentence with a letter names."""
    marked = BOXED.findall(text) or tagged(text)
    if marked:
        return distinct(letter for content in marked for letter in LETTER.findall(content))
    lines = [line for line in sentences(clean(text, prompt)) if LETTER.search(line)]
    said = [
        letter for line in lines for tail in STATEMENT.split(line)[1:] for letter in LETTER.findall(tail)[:1]
    ]
    if said or not lines:
        return distinct(said)
    for piece in reversed(SEPARATOR.split(lines[-1])):
        if LETTER.search(piece):
            return distinct(LETTER.findall(piece))
    return Found()
