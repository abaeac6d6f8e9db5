"""What can be seen of a text by its script and its repeats alone."""

import re
from collections import Counter

HAN = re.compile("[\u4e00-\u9fff]")
LATIN = re.compile(r"[A-Za-z]{2,}")  # one letter is a variable, or a letter of a word that is spelled
PIECE = re.compile("[\u4e00-\u9fff]|\\w+|[^\\w\\s]")
NGRAM = 4


def language_share(text: str, prompt: str) -> float:
    """The share of the words of `text` (a Chinese character is one) that are in the prompt's language:
    Chinese where the prompt has any. Latin words of a Chinese prompt are quoted and count for neither; 1
    where there are no words."""
    chinese = bool(HAN.search(prompt))
    quoted = set(LATIN.findall(prompt.lower())) if chinese else set()
    han = len(HAN.findall(text))
    latin = sum(word not in quoted for word in LATIN.findall(text.lower()))
    own = han if chinese else latin
    return own / (han + latin) if han + latin else 1.0


def repetition(text: str) -> float:
    """The share of the runs of four pieces (words, characters, marks) that came before."""
    counts = Counter(ngrams(text))
    total = sum(counts.values())
    return (total - len(counts)) / total if total else 0.0


def ngrams(text: str, size: int = NGRAM) -> list[tuple[str, ...]]:
    pieces = PIECE.findall(text.lower())
    return [tuple(pieces[i : i + size]) for i in range(len(pieces) - size + 1)]
