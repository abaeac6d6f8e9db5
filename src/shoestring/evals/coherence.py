"""Whether a reply is language about its question at all. What small models write often isn't, and then an
audit that finds no fault in it has found nothing.

Only what rules can see: nothing said, round in circles, another language, no words, the question again, a
long reply without a word of the question. A fluent wrong answer is coherent. The rules' error is measured
(`shoestring audit --labelled`).
"""

import re
from collections import Counter
from typing import Literal

from shoestring.evals.refusal_reader import num_words, refusal_in
from shoestring.tasks.language import WINDOW, share_in, words
from shoestring.tasks.shape import repetition_score, tokens_of
from shoestring.text.claims.sentences import sentences

Fault = Literal["", "empty", "loop", "language", "garbled", "echo", "topic"]

REPEATS = 0.5  # under this share of new 4-grams a reply goes round in circles
FOREIGN = 0.5  # under this share of words in the question's language it is in another
ECHO = 8  # letters; fewer may be an answer that takes a word of the question up
LONG = 20  # words, from which on one of the question's should occur
_COMMON = """a an the of and to in is it that
for on with as at by from be are was were or not this but if so do
does did how what who which when where why can has have had will would about their there been i you he
she we they"""
_FUNCTION = frozenset(_COMMON.split())  # say nothing by themselves
_ASKING = frozenset(("describe", "explain", "write", "name", "tell", "give", "known", "said", "happened"))
_FUNCTION_ZH = frozenset(
    "的了是在和有不吗呢吧着过就都也很我你他它们这那什么怎样如何哪为谁请一个些中里上下对与及"
)
_ELIDED = frozenset("aioyldcjnsmteu")  # letters that stand alone: "a", "I", "l'eau", "don't"
_BAD = re.compile(r"[\ufffd\x00-\x08\x0e-\x1f]")
_HAN = re.compile(r"[\u3400-\u9fff]")


def fault(question: str, reply: str, language: str, about: bool = True) -> Fault:
    """Empty where none is seen. A short reply is on the topic; `about` False: a long one too, where the
    question is who speaks and the answer needs none of its words."""
    text = reply.strip()
    if not re.search(r"\w", text):
        return "empty"
    if repetition_score(text) < REPEATS:
        return "loop"
    if _garbled(text):
        return "garbled"
    if sum(word.count for word in words(text)) >= WINDOW:
        share = share_in(text, language)
        if share is not None and share < FOREIGN:
            return "language"
    if question and _echoes(question, text):
        return "echo"
    if about and num_words(text) >= LONG and not refusal_in(text) and _off_topic(question, text, language):
        return "topic"
    return ""


def _echoes(question: str, text: str) -> bool:
    """Nothing but the question's own words over again, the last time perhaps not to its end."""
    asked = _letters(question)
    said = [_letters(sentence.text) for sentence in sentences(text)]
    return len(asked) >= ECHO and len(said[0]) >= ECHO and all(one in asked for one in said)


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _garbled(text: str) -> bool:
    """Signs for letters, one word again and again, letters that make no words, function words alone."""
    if len(_BAD.findall(text)) > len(text) / 20:
        return True
    found = [token.lower() for token in tokens_of(text) if token[0].isalpha()]
    counts = Counter(found)
    if (len(found) >= 3 and len(counts) == 1) or (len(found) == 1 and len(text) == 1):
        return True
    latin = [token for token in found if token.isascii()]
    if latin and len(latin) == len(found):
        odd = [token for token in latin if _unspeakable(token)]
        if 3 * len(odd) > len(latin) or (len(latin) >= 6 and _FUNCTION.issuperset(latin)):
            return not (len(latin) == 1 and text.isupper() and len(text) > 1)  # "IBM"
    han = [token for token in found if _HAN.match(token)]
    return len(han) >= 6 and len(han) == len(found) and _FUNCTION_ZH.issuperset(han)


def _unspeakable(token: str) -> bool:
    if len(token) == 1:
        return token not in _ELIDED
    if token in ("mr", "mrs", "dr", "st", "tv", "cd", "pc", "hmm", "shh"):
        return False
    return not re.search(r"[aeiouy]", token) or re.search(r"[bcdfghjklmnpqrstvwxz]{5}", token) is not None


def _off_topic(question: str, text: str, language: str) -> bool:
    if language in ("zh", "ja"):
        asked = {c for c in question if _HAN.match(c)} - _FUNCTION_ZH
        return bool(asked) and not asked & set(text)
    asked = {stem for token in tokens_of(question.lower()) if (stem := _stem(token))}
    return bool(asked) and not asked & {_stem(token) for token in tokens_of(text.lower())}


def _stem(token: str) -> str:
    """ "" for what says nothing of a topic."""
    return "" if len(token) < 4 or token in _FUNCTION or token in _ASKING else token[:5]
