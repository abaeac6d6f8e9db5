"""From an answer's text to a value: lists, sets, tuples, intervals, equations; what stands between brackets,
commas and relations is read by maths_expression.py."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from shoestring.tasks.exact import Exact, NoValue, TooBig, Unreadable, letter, rational, same_exact
from shoestring.tasks.maths_expression import CONSTANT_NAMES, Expression
from shoestring.tasks.maths_text import Token, tokens
from shoestring.tasks.maths_units import scale_and_unit, takes_back
from shoestring.tasks.maths_value import (
    INFINITY,
    MAX_ITEMS,
    Brackets,
    Equation,
    Group,
    Interval,
    Number,
    Union,
    Value,
    plus_minus,
)

PAIRS: dict[tuple[str, str], Brackets] = {
    ("(", ")"): "()", ("[", "]"): "[]", ("\\{", "\\}"): "{}", ("{", "}"): "{}",
}  # fmt: skip
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "\\lt": "<", "\\gt": ">", "\\in": "in",
    "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=",
}  # fmt: skip
EMPTY = ("\\emptyset", "\\varnothing")
MATRICES = ("pmatrix", "bmatrix", "matrix")
Tokens = Sequence[Token]


@lru_cache(maxsize=4096)
def read(text: str, grouped: bool = True) -> Value:
    """`grouped`: 1,234 is one number, not two. Raises Unreadable, or NoValue where nobody could read it."""
    try:
        return _value(tokens(text, grouped))
    except RecursionError:
        raise TooBig("it is nested too deeply") from None


def _value(part: Tokens) -> Value:
    for sign, other in (("+", "-"), ("-", "+")):
        if any(token.text in ("\\pm", "\\mp") for token in part):
            plus, minus = (_signed(part, a, b) for a, b in ((sign, other), (other, sign)))
            return plus_minus(_value(plus), _value(minus))
    part = _without_lead(part)
    if not part:
        raise Unreadable("nothing is there")
    pieces, commas = _split(part, (",", ";", "or", "and"))
    if commas:
        return _listed(pieces, commas)
    pieces, cups = _split(part, ("\\cup",))
    if cups:
        return _union([_value(piece) for piece in pieces])
    pieces, relations = _split(part, tuple(RELATIONS))
    if relations:
        return _related(pieces, [RELATIONS[relation] for relation in relations])
    pieces, colons = _split(part, (":", "\\colon"))
    if colons:
        return Group(":", tuple(map(_value, pieces)))
    return _bracketed(part) or _number(part)


def _signed(part: Tokens, plus: str, minus: str) -> list[Token]:
    signs = {"\\pm": plus, "\\mp": minus}
    return [Token("sign", signs[t.text]) if t.text in signs else t for t in part]


def _without_lead(part: Tokens) -> Tokens:
    """Words before the value ("The sum is 64") are passed over, unless they say that it isn't the value."""
    start = 0
    while start < len(part) and part[start].kind == "word":
        start += 1
    if start == len(part) or part[start].text == "=":
        return part
    if takes_back([token.text for token in part[:start]]):
        raise NoValue("the words before it take it back")
    return part[start:]


def _split(part: Tokens, at: tuple[str, ...]) -> tuple[list[Tokens], list[str]]:
    """The pieces between those signs that stand outside all brackets, and the signs."""
    pieces, signs, start, depth = [], [], 0, 0
    for place, token in enumerate(part):
        depth += (token.kind == "open" or token.text == "\\begin") - (
            token.kind == "close" or token.text == "\\end"
        )
        if depth == 0 and token.text in at and token.kind in ("sign", "command", "word"):
            pieces.append(part[start:place])
            signs.append(token.text)
            start = place + 1
    return [*pieces, part[start:]], signs


def _listed(pieces: list[Tokens], commas: list[str]) -> Value:
    kept = [piece for piece in pieces if piece]
    if len(kept) < len(pieces) - commas.count("and") - commas.count("or"):
        raise Unreadable("a comma with nothing beside it")
    if len(kept) > MAX_ITEMS:
        raise TooBig("a list is too long")
    values = [_value(piece) for piece in kept]
    spans = [value for value in values if isinstance(value, Interval | Union)]
    if spans and len(spans) == len(values) and "," not in commas:
        if "and" in commas:
            raise Unreadable("inequalities joined by 'and'")
        return _union(values)
    items: list[Value] = []
    for value in values:  # "x = 1 \pm 2" among others stands for two
        items += value.items if isinstance(value, Group) and not value.brackets else [value]
    return Group("", tuple(items)) if len(items) > 1 else items[0]


def _union(values: list[Value]) -> Value:
    parts: list[Interval] = []
    for value in values:
        if isinstance(value, Group) and value.brackets == "()" and len(value.items) == 2:
            low, high = value.items
            if isinstance(low, Number) and isinstance(high, Number):
                value = Interval(low.exact, high.exact, False, False)
        if isinstance(value, Interval):
            parts.append(value)
        elif isinstance(value, Union):
            parts += value.parts
        else:
            raise Unreadable("a union of other things than intervals")
    return Union(tuple(parts))


def _related(pieces: list[Tokens], relations: list[str]) -> Value:
    if any(not piece for piece in pieces):
        raise Unreadable("a relation with nothing beside it")
    if relations == ["in"] and _name(pieces[0]):
        return _value(pieces[1])
    if set(relations) == {"="}:
        return _equation(pieces)
    if set(relations) <= {"<", "<="} or set(relations) <= {">", ">="}:
        return _inequality(pieces, relations)
    raise Unreadable("relations of several kinds")


def _equation(pieces: list[Tokens]) -> Value:
    """ "x = 3", "17 + 5 = 22", "h = ... = 2": the last piece, with its name; else an equation."""
    name, last = _name(pieces[0]), pieces[-1]
    if name is None and len(pieces) == 2 and _name(last):
        name, last = _name(last), pieces[0]
    value = _value(last)
    if name is not None:
        return replace(value, name=name) if isinstance(value, Number | Group) else value
    sides = [_value(piece) for piece in pieces]
    if not all(isinstance(side, Number) for side in sides):
        if len(pieces) == 2 and isinstance(sides[0], Group):  # (x, y) = (2, 5)
            return sides[1]
        raise Unreadable("an equation of other things than numbers")
    exacts = [side.exact for side in sides if isinstance(side, Number)]
    unknowns = exacts[0].letters - CONSTANT_NAMES
    if len(exacts) == 2 and exacts[1].letters - CONSTANT_NAMES and not unknowns:
        return Equation(exacts[0] - exacts[1])
    if not unknowns or all(same_exact(exact, exacts[-1]) for exact in exacts):
        return sides[-1]
    if len(exacts) > 2:
        raise Unreadable("several equations in one")
    return Equation(exacts[0] - exacts[1])


def _inequality(pieces: list[Tokens], relations: list[str]) -> Interval:
    if relations[0].startswith(">"):
        pieces, relations = pieces[::-1], [sign.replace(">", "<") for sign in relations[::-1]]
    closed = [sign == "<=" for sign in relations]
    if len(pieces) == 3 and _name(pieces[1]):
        return Interval(_exact(pieces[0]), _exact(pieces[2]), closed[0], closed[1])
    if len(pieces) == 2 and _name(pieces[0]):
        return Interval(-letter(INFINITY), _exact(pieces[1]), False, closed[0])
    if len(pieces) == 2 and _name(pieces[1]):
        return Interval(_exact(pieces[0]), letter(INFINITY), closed[0], False)
    raise Unreadable("an inequality that isn't solved")


def _name(part: Tokens) -> str | None:
    """ "x", "x_1", "f(x)"; words are a name too, which says nothing: ""."""
    if part and all(token.kind == "word" for token in part):
        return None if takes_back([token.text for token in part]) else ""
    texts = [token.text for token in part]
    if not part or part[0].kind != "name" or texts[0] in ("e", "i"):
        return texts[0][1:] if len(texts) == 1 and texts[0] in ("\\theta", "\\alpha", "\\beta") else None
    if len(texts) == 1 or (
        len(texts) == 4 and texts[1] == "(" and texts[3] == ")" and part[2].kind == "name"
    ):
        return texts[0]
    if texts[1] == "_" and (len(texts) == 3 or (len(texts) == 5 and texts[2] == "{")):
        return "".join(text for text in texts if text not in "{}")
    return None


def _exact(part: Tokens) -> Exact:
    value = _value(part)
    if not isinstance(value, Number):
        raise Unreadable("a bound that is no number")
    return value.exact


def _bracketed(part: Tokens) -> Value | None:
    """A set, tuple, interval or matrix; None where the brackets are an expression's."""
    first, last = part[0].text, part[-1].text
    if len(part) == 1 and first in EMPTY:
        return Group("{}", ())
    if [token.text for token in part] in (["\\mathbb", "{", "R", "}"], ["\\mathbb", "R"], ["\\R"]):
        return Interval(-letter(INFINITY), letter(INFINITY), False, False)
    if first == "\\begin":
        return _matrix(part)
    if part[0].kind != "open" or part[-1].kind != "close" or _closes(part) != len(part) - 1:
        return None
    inner, pair = part[1:-1], PAIRS.get((first, last))
    if not inner:
        return Group("{}", ()) if pair == "{}" else None
    pieces, commas = _split(inner, (",",))
    if any(token.text == "\\over" for token in inner):
        return None
    if not commas:
        if first == "\\{":
            return Group("{}", (_value(inner),))
        return _value(inner) if _split(inner, tuple(RELATIONS))[1] or pair == "{}" else None
    items = tuple(_value(piece) for piece in pieces)
    low, high = items[0], items[-1]
    mixed = first + last in ("[]", "[)", "(]")
    if mixed and len(items) == 2 and isinstance(low, Number) and isinstance(high, Number):
        return Interval(low.exact, high.exact, first == "[", last == "]")
    if pair is None or len(items) > MAX_ITEMS:
        raise Unreadable("brackets that don't match")
    return Group("" if first == "{" else pair, items)


def _closes(part: Tokens) -> int:
    depth = 0
    for place, token in enumerate(part):
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0:
            return place
    return -1


def _matrix(part: Tokens) -> Value:
    texts = [token.text for token in part]
    if len(texts) < 4 or texts[:2] != ["\\begin", "{"] or texts[2] not in MATRICES or texts[-4] != "\\end":
        raise Unreadable("an environment that isn't known")
    rows = [row for row in _split(part[4:-4], ("\\newrow",))[0] if row]
    read_rows = [Group("matrix", tuple(_value(cell) for cell in _split(row, ("&",))[0])) for row in rows]
    return Group("matrix", tuple(read_rows))


def _number(part: Tokens) -> Number:
    expression = Expression(part)
    exact = expression.read()
    if expression.base:
        return Number(exact, f"_{expression.base}")
    scale, unit = scale_and_unit(expression.rest)
    return Number(exact if scale == 1 else exact * rational(scale), unit)
