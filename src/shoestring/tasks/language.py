"""Which language a text is in, word by word: by script where scripts differ, else by py3langid on windows of
a few words, its candidates narrowed to those that share the target's script.

A word is a run of letters; in scripts without spaces it is a character (Chinese, Japanese) or each begun four
(Thai and its like). Code, LaTeX, tags, addresses and numbers are no words. In a text of another script so are
names ("Alice", "New York"), symbols (x, sin, km) and capitals (DNA): they are written so in every language.
"""

import copy
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

from shoestring.errors import BadInput

MAX_CHARS = 20_000  # of a longer text the first and the last half of this are read
WINDOW = 4  # words that a verdict of the identifier needs; shorter sentences are read with their neighbours
DOUBT = 0.1  # a window is foreign only where the identifier gives the target less than this
SURE = 0.4  # of fewer words than WINDOW the identifier must give its own guess this much to be believed
PROMPT = "prompt"  # the target of a reward: the problem's own language

# the languages told apart in each script; a target that isn't there is added to its script's
CODES = {
    "latin": "en de fr es it pt nl pl sv da no fi cs hu ro tr vi id",
    "cyrillic": "ru uk bg",
    "arabic": "ar fa ur",
    "devanagari": "hi mr ne",
    "han": "zh",
    "kana": "ja",
    "hangul": "ko",
    "greek": "el",
    "hebrew": "he",
    "thai": "th",
    "bengali": "bn",
    "tamil": "ta",
    "telugu": "te",
    "georgian": "ka",
    "armenian": "hy",
    "lao": "lo",
    "khmer": "km",
    "myanmar": "my",
}
SCRIPTS = {script: codes.split() for script, codes in CODES.items()}
OF = {language: script for script, languages in SCRIPTS.items() for language in languages}
SINGLE = ("han", "kana")  # a character is a word
UNSPACED = ("thai", "lao", "khmer", "myanmar")  # four are
UNICODE_NAMES = {"cjk": "han", "hiragana": "kana", "katakana": "kana"}

NOT_WORDS = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)"
    r"|\\(?:boxed|text|frac|sqrt|fbox)\b|\\[a-zA-Z]+|https?://\S+|</?[\w|]+>|<\|[^|]*\|>",
    re.DOTALL,
)
RUN = re.compile(r"[\u0900-\u0dff\u0e00-\u109f]+|[^\W\d_]+(?:['’\u0300-\u036f]+[^\W\d_]*)*")
SENTENCE = re.compile(r"(?<=[.!?。！？;；])\s*|\n+")
SYMBOLS = ("sin", "cos", "tan", "log", "exp", "mod", "max", "min", "gcd", "lcm", "abs", "div", "lim", "det")
NAME_RUN = 3  # so many capitalised words in a row may be a name; more are a sentence written so


@dataclass(frozen=True)
class Word:
    text: str
    script: str
    count: int  # how many words it stands for


def words(text: str) -> list[Word]:
    """The words of a text in their order."""
    return _words(NOT_WORDS.sub(" ", text))


def _words(text: str) -> list[Word]:
    found = []
    for run in RUN.findall(text):
        if run.isascii():
            found.append(Word(run, "latin", 1))
            continue
        for piece, script in _by_script(run):
            if script in SINGLE:
                found.append(Word(piece, script, len(piece)))
            else:
                found.append(Word(piece, script, -(-len(piece) // 4) if script in UNSPACED else 1))
    return found


def detect(text: str) -> str:
    """The code of a text's main language; "" where it has no words."""
    counts = Counter[str]()
    for word in words(_bounded(text)):
        counts[word.script] += word.count
    if not counts:
        return ""
    script = counts.most_common(1)[0][0]
    if script == "han" and 20 * counts["kana"] >= counts["han"]:  # Japanese is mostly both
        script = "kana"
    languages = SCRIPTS.get(script, [])
    if len(languages) < 2:
        return languages[0] if languages else script
    best, share = _identify(NOT_WORDS.sub(" ", _bounded(text)), tuple(languages))
    short = counts[script] < WINDOW  # "Multiply 3 by 6." looks as much like Czech
    return languages[0] if short and share < SURE else best


def check_target(target: str) -> None:
    """Raises BadInput where nothing could be said about that language."""
    if target != PROMPT and target not in OF and target not in _identifier(()).labels:
        raise BadInput(f"language '{target}' is not known: a code such as en, zh or de, or '{PROMPT}'")


def share_in(text: str, target: str) -> float | None:
    """Words of the text in the language `target` / all its words. None where it has no words."""
    script = OF.get(target, "latin")
    right = total = 0
    for window in _windows(_bounded(text)):
        counted = _counted(window, script)
        mine = [w for w in counted if w.script == script or (script == "kana" and w.script == "han")]
        total += sum(w.count for w in counted)
        if mine and _is_in(mine, target, script):
            right += sum(w.count for w in mine)
    return right / total if total else None


def _is_in(found: list[Word], target: str, script: str) -> bool:
    """Whether a window of one script's words is in `target`, which only rivals of that script contest. Of
    "yes" alone nobody can tell: a short window is foreign only where a rival is sure of it."""
    rivals = tuple(sorted({*SCRIPTS.get(script, []), target}))
    if len(rivals) == 1 or len(found) == 1:
        return True
    text = " ".join(w.text for w in found)
    best, share = _identify(text, rivals, target)
    if best == target or share >= DOUBT:
        return True
    return len(found) < WINDOW and _identify(text, rivals)[1] < SURE


def _counted(found: list[Word], script: str) -> list[Word]:
    """Those that count: names and symbols of another script than the target's are left out, and single
    letters (x, a word that is spelled out) of any."""
    kept: list[Word] = []
    row: list[Word] = []  # capitalised words of another script, one after another
    for word in [*found, None]:
        if (
            word is not None
            and word.script != script
            and word.text[0].isupper()
            and word.script not in SINGLE
        ):
            row.append(word)
            continue
        kept += row if len(row) > NAME_RUN else []
        row = []
        if word is not None and not (_symbol(word) if word.script != script else _letter(word)):
            kept.append(word)
    return kept


def _symbol(word: Word) -> bool:
    if word.script == "latin":
        return len(word.text) <= 2 or word.text.lower() in SYMBOLS
    return word.script == "greek" and len(word.text) == 1


def _letter(word: Word) -> bool:
    return word.script == "latin" and len(word.text) == 1


def _windows(text: str) -> list[list[Word]]:
    """The words of each sentence, short ones together with what follows; a short rest goes with the last."""
    done: list[list[Word]] = []
    window: list[Word] = []
    for sentence in SENTENCE.split(NOT_WORDS.sub(" ", text)):
        window += _words(sentence)
        if sum(w.count for w in window) >= WINDOW:
            done.append(window)
            window = []
    if window and done and sum(w.count for w in window) < WINDOW // 2:
        done[-1] += window
    elif window:
        done.append(window)
    return done


def _by_script(run: str) -> list[tuple[str, str]]:
    """ "x是" -> [("x", "latin"), ("是", "han")]."""
    pieces: list[tuple[str, str]] = []
    for character in run:
        script = _script(character) or (pieces[-1][1] if pieces else "")
        if pieces and pieces[-1][1] == script:
            pieces[-1] = (pieces[-1][0] + character, script)
        elif script:
            pieces.append((character, script))
    return pieces


@cache
def _script(character: str) -> str:
    """The first word of the letter's name, "" for marks, which belong to the letter before."""
    if not character.isalpha() or unicodedata.category(character) == "Lm":
        return ""
    first = unicodedata.name(character, "").partition(" ")[0].partition("-")[0].lower()
    return UNICODE_NAMES.get(first, first)


def _identify(text: str, languages: tuple[str, ...], of: str = "") -> tuple[str, float]:
    """The likeliest of `languages`, and the share that `of` (default: that one) gets."""
    ranked = _identifier(languages).rank(text.lower() if text.isupper() else text)
    return ranked[0][0], dict(ranked)[of or ranked[0][0]]


@cache
def _identifier(languages: tuple[str, ...]) -> Any:
    """py3langid's model, 4.6 MB in its wheel, read at the first use (about a second)."""
    if languages:
        narrowed = copy.copy(_identifier(()))  # its tables are shared, its choice of languages is not
        narrowed.set_languages(languages)
        return narrowed
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _bounded(text: str) -> str:
    half = MAX_CHARS // 2
    return text if len(text) <= MAX_CHARS else f"{text[:half]}\n{text[-half:]}"
