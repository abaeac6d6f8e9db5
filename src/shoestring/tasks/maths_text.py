"""An answer's text in one spelling, and its tokens: LaTeX, plain and Unicode spellings of one thing are made
alike, what only looks is dropped. Sizes are checked here, before anything is worked out."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from shoestring.tasks.exact import TooBig, Unreadable

MAX_VALUE_CHARS = 500
MAX_TOKENS = 250
MAX_DEPTH = 25  # of brackets in brackets

Kind = Literal["number", "name", "command", "word", "sign", "open", "close"]

SIGNS = str.maketrans("−–—﹣－×·⋅∙÷∕⁄", "-----****///")
UNICODE = {
    "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\le ", "≦": r"\le ", "⩽": r"\le ", "≥": r"\ge ",
    "≧": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ",
    "∅": r"\emptyset ", "°": r"\degree ", "∓": r"\mp ", "ℝ": r"\mathbb{R}", "∶": ":",
}  # fmt: skip
FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5",
             "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}  # fmt: skip
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
LOOKS = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|quad|qquad|mathstrut|strut)(?![a-zA-Z])"
    r"|\\[!,;: ]|~|\\\$|[$€£¥₹]|\\hline(?![a-zA-Z])|\{,\}(?=\d)|\*\*(?=$)"
)
TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal|sf)?|mathrm|mbox|hbox|operatorname\*?)\s*\{([^{}]*)\}")
FONT = re.compile(r"\\(?:math(?:bf|it|sf|cal)|bm|boldsymbol|bold)\s*(?=\{)")
GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,]*,?\d)")
REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))(?!\d)")
TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>\d+r\d*r\d+|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<command>\\[a-zA-Z]+)"
    r'|(?P<quoted>"[^"]*")'
    r"|(?P<run>[a-zA-Z]+)"
    r"|(?P<open>\\\{|[{(\[])|(?P<close>\\\}|[})\]])"
    r"|(?P<sign>\*\*|<=|>=|!=|[-+*/^_=<>!:,;&%|'])"
)
FUNCTIONS = {
    "sqrt",
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "log",
    "ln",
    "exp",
    "arcsin",
    "arccos",
    "arctan",
}
CONSTANTS = {"pi": "\\pi", "infinity": "\\infty", "inf": "\\infty", "oo": "\\infty"}
UNIT_LETTERS = {"m", "s", "g", "h", "L", "N", "J", "W", "V"}
SHORT_WORDS = frozenset(
    """
    the is of in to we so be it as at by if no on up an my he or and not all one two six ten for are was
    has you its per am pm mm cm km kg mg ft yd mi lb oz hr hrs min sec sq rad deg mph ml but can do get
    got yes cat dog
    """.split()  # noqa: SIM905, a list would be a page
)


@dataclass(frozen=True)
class Token:
    kind: Kind
    text: str


def normal(text: str, grouped: bool) -> str:
    """`grouped`: 1,234 is one number. Raises TooBig or Unreadable."""
    if len(text) > MAX_VALUE_CHARS:
        raise TooBig("an answer is too long")
    for mark, fraction in FRACTIONS.items():
        text = text.replace(mark, f" {fraction} ")
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda m: f"^{{{m[0].translate(RAISED)}}}", text)
    text = text.replace("\\\\", "\\newrow ").translate(SIGNS)
    for mark, command in UNICODE.items():
        text = text.replace(mark, command)
    text = unicodedata.normalize("NFKC", text)
    text = text.replace('"', " ").replace("`", " ").strip()
    while text.startswith("**") and text.endswith("**") and len(text) > 4:
        text = text[2:-2].strip()
    text = re.sub(r"\\ ", " ", text)
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    text = TEXT.sub(_quote, text)
    text = FONT.sub("", text).replace("\\lor", " or ")
    text = re.sub(r"(?<=\d)\\[,! ](?=\d{3}(?!\d))", "", text)
    text = LOOKS.sub(lambda m: "" if m[0] == "{,}" else " ", text)
    text = text.replace("\\%", "%").replace("\\&", "&")
    text = REPEATING.sub(lambda m: f"{m[1] or 0}r{m[2]}r{m[3] or m[4]}", text)
    if grouped:
        text = GROUPED.sub(lambda m: m[0].replace(",", ""), text)
    return text.strip().rstrip(".").strip()


def _quote(match: re.Match[str]) -> str:
    """A \\text's content: what counts or joins stays as it is, words are quoted."""
    content = match[1].strip()
    if not content or re.fullmatch(r"[\d\s.,()+*/-]+|\(?[A-Z]\)?", content):
        return f" {content} "
    if content in ("and", "or", "pi", "e", "i", ","):
        return f" {content} "
    return f' "{content}" '


def tokens(text: str, grouped: bool) -> list[Token]:
    text = normal(text, grouped)
    found: list[Token] = []
    at = depth = 0
    spaced = False
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise Unreadable(f"a sign that isn't known: {text[at]!r}")
        at = match.end()
        kind, part = match.lastgroup, match[0]
        if kind == "space":
            spaced = True
            continue
        depth += (kind == "open") - (kind == "close")
        if depth > MAX_DEPTH or len(found) > MAX_TOKENS:
            raise TooBig("brackets are too deep, or there are too many signs")
        found += _tokens(str(kind), part, spaced, found)
        spaced = False
    return found


def _tokens(kind: str, part: str, spaced: bool, before: list[Token]) -> list[Token]:
    if kind == "quoted":
        return [Token("word", word) for word in re.findall(r"[^\s,]+|,", part.strip('"').strip())]
    if kind == "run":
        return _run(part, spaced, before)
    if kind == "command" and part[1:] in FUNCTIONS | {"degree", "circ"}:
        return [Token("command", part)]
    return [Token(kind, part)]  # pyright: ignore[reportArgumentType]


def _run(part: str, spaced: bool, before: list[Token]) -> list[Token]:
    """Letters in a row: a function, a constant, a unit, a word, or one-letter names side by side."""
    low = part.lower()
    if low in ("or", "and"):
        return [Token("sign", low)]
    if part in FUNCTIONS:
        return [Token("command", f"\\{part}")]
    if low in CONSTANTS:
        return [Token("command", CONSTANTS[low])]
    after_value = bool(before) and (before[-1].kind in ("number", "close"))
    if len(part) == 1 and not (part in UNIT_LETTERS and spaced and after_value):
        return [Token("name", part)]
    if len(part) <= 3 and low not in SHORT_WORDS and len(part) > 1:
        return [Token("name", one) for one in part]
    return [Token("word", part)]
