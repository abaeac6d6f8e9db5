"""Exact arithmetic for a model to call: + - * / ** and brackets on fractions, read without eval and bounded
before anything is computed."""

import re
from fractions import Fraction

MAX_CHARS = 300
MAX_DEPTH = 40
MAX_BITS = 2_000  # of any numerator or denominator on the way
MAX_PLACES = 12  # of a decimal; a fraction that ends later is given as one
TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|(\*\*|[-+*/()^×÷−]))", re.ASCII)
SPELLED = {"^": "**", "×": "*", "÷": "/", "−": "-"}


class NoValue(ValueError):
    """The text has no value that this calculator gives; the message says why."""


def calculate(text: str) -> str:
    """The exact value: a whole number, a decimal that ends, or a fraction with what it is about. Raises
    NoValue."""
    if len(text) > MAX_CHARS:
        raise NoValue(f"longer than {MAX_CHARS} characters")
    parser = _Parser(_tokens(text))
    value = parser.sum(0)
    if parser.rest:
        raise NoValue(f"'{parser.rest[0]}' is left over")
    return spelled(value)


def spelled(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value * 10**MAX_PLACES
    if scaled.denominator == 1:
        sign, digits = "-" if scaled < 0 else "", str(abs(scaled.numerator)).rjust(MAX_PLACES + 1, "0")
        return f"{sign}{digits[:-MAX_PLACES]}.{digits[-MAX_PLACES:]}".rstrip("0")
    try:
        return f"{value.numerator}/{value.denominator} (about {float(value):.6g})"
    except OverflowError:
        return f"{value.numerator}/{value.denominator}"


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise NoValue(f"'{text[position : position + 10].strip()}' is no number or operator")
        tokens.append(match[1] or SPELLED.get(match[2], match[2]))
        position = match.end()
    return tokens


class _Parser:
    """sum: product (+|- product)*; product: signed (*|/ signed)*; signed: -? power; power: atom (** signed)?;
    atom: number | bracketed sum."""

    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens

    def take(self, *wanted: str) -> str:
        return self.rest.pop(0) if self.rest and self.rest[0] in wanted else ""

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while operator := self.take("+", "-"):
            term = self.product(depth)
            value = _checked(value + term if operator == "+" else value - term)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.signed(depth)
        while operator := self.take("*", "/"):
            factor = self.signed(depth)
            if operator == "/" and factor == 0:
                raise NoValue("division by zero")
            value = _checked(value * factor if operator == "*" else value / factor)
        return value

    def signed(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise NoValue("nested too deeply")
        if self.take("-"):
            return -self.signed(depth + 1)
        if self.take("+"):
            return self.signed(depth + 1)
        base = self.atom(depth)
        return _power(base, self.signed(depth + 1)) if self.take("**") else base

    def atom(self, depth: int) -> Fraction:
        if self.take("("):
            value = self.sum(depth + 1)
            if not self.take(")"):
                raise NoValue("a bracket is not closed")
            return value
        if not self.rest or not (self.rest[0][0].isdigit() or self.rest[0][0] == "."):
            raise NoValue(
                f"a number is missing before '{self.rest[0]}'" if self.rest else "a number is missing"
            )
        return _checked(Fraction(self.rest.pop(0)))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise NoValue("a power has to be a whole number")
    if base == 0 and exponent < 0:
        raise NoValue("division by zero")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if base not in (0, 1, -1) and abs(exponent) * (bits - 1) > MAX_BITS:
        raise NoValue("too large")
    if base in (0, 1, -1):  # whatever the exponent's size
        return base if exponent % 2 or base == 1 else Fraction(int(exponent == 0 or base == -1))
    return _checked(base ** int(exponent))


def _checked(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NoValue("too large")
    return value
