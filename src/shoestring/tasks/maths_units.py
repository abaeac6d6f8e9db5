"""What may follow a value: a unit, words that count, words that scale and words that take it back."""

import re
from collections.abc import Sequence

from shoestring.tasks.exact import NoValue, Unreadable
from shoestring.tasks.maths_text import Token

# one spelling for each unit that is known; others say nothing and are left out of the comparison
SPELLINGS = {
    "mm": "mm millimeter millimetre", "cm": "cm centimeter centimetre", "m": "m meter metre",
    "km": "km kilometer kilometre", "in": "in inch inches", "ft": "ft foot feet", "yd": "yd yard",
    "mi": "mi mile", "mg": "mg milligram", "g": "g gram gramme", "kg": "kg kilogram kilogramme",
    "lb": "lb lbs pound", "oz": "oz ounce", "l": "l liter litre", "ml": "ml milliliter millilitre",
    "s": "s sec second", "min": "min minute", "h": "h hr hour", "day": "day", "week": "week",
    "month": "month", "year": "year yr", "deg": "deg degree degree circ", "rad": "rad radian",
    "$": "dollar usd", "cent": "cent",
    "%": "percent percentage", "mph": "mph",
}  # fmt: skip
UNITS = {spelling: unit for unit, names in SPELLINGS.items() for spelling in names.split()}
SCALES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
TAKES_BACK = frozenset(
    """
    not never no isn't less more fewer greater smaller larger most least between above below over under
    about approximately roughly around nearly almost wrong incorrect false squared cubed factorial half
    third quarter than except either neither times plus minus divided if unless twice double but cannot
    can't don't impossible undefined
    """.split()  # noqa: SIM905, a list would be a page
)


def takes_back(words: Sequence[str]) -> bool:
    return any(word.lower().strip("().") in TAKES_BACK for word in words)


def scale_and_unit(rest: Sequence[Token]) -> tuple[int, str]:
    """What the tokens after a value say. Raises Unreadable where they go on with another value."""
    scale, pieces, known = 1, [], True
    for place, token in enumerate(rest):
        word = token.text.lower().strip("().{}")
        if token.kind == "word" and word in SCALES:
            scale *= SCALES[word]
        elif token.kind == "word" and takes_back([word]):
            raise NoValue(f"'{word}' after it")
        elif token.kind == "number" and not (place and word in ("2", "3")):
            raise NoValue("two values side by side")
        elif token.kind == "sign" and token.text not in ("^", "/", "-", "*", "%", "'"):
            raise Unreadable(f"{token.text!r} after it")
        elif token.kind == "command" and token.text not in ("\\circ", "\\degree"):
            raise Unreadable(f"{token.text} after it")
        elif token.text in ("%", "\\circ", "\\degree"):
            pieces.append("%" if token.text == "%" else "deg")
        elif token.kind != "open" and token.kind != "close" and token.text != "^":
            for piece in re.findall(r"[a-z]+|[23/]", token.text.lower()):
                unit = piece if piece in "23/" else _unit(piece)
                known = known and (unit is not None or piece in ("square", "cubic", "per"))
                pieces.append(unit or {"square": "2", "cubic": "3", "per": "/"}.get(piece, ""))
    if "%" in pieces:
        return scale, "%"
    return scale, "".join(sorted(pieces)) if known else ""


def is_unit(word: str) -> bool:
    return _unit(word.lower()) is not None or word.lower() in ("square", "cubic", "per")


def _unit(word: str) -> str | None:
    return UNITS.get(word) or UNITS.get(word.removesuffix("s"))
