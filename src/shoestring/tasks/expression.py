"""Arithmetic as people type it, read without eval: + - * / and brackets over whole numbers, exact."""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 200
TOKEN = re.compile(r"\s*(?:(\d{1,9})|([-+*/()]))")


class NotAnExpression(ValueError):
    """The text isn't one whole expression; the message says where it stops being one."""


@dataclass(frozen=True)
class Expression:
    value: Fraction
    numbers: tuple[int, ...]  # as written, left to right


def parse_expression(text: str) -> Expression:
    """The value and numbers of `text`. Raises NotAnExpression, also for a division by zero."""
    if len(text) > MAX_CHARS:
        raise NotAnExpression(f"longer than {MAX_CHARS} characters")
    parser = _Parser(_tokens(text))
    value = parser.sum()
    if parser.rest:
        raise NotAnExpression(f"'{parser.rest[0]}' is left over")
    return Expression(value, tuple(parser.numbers))


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None or (match[1] and text[match.end() : match.end() + 1].isdigit()):
            raise NotAnExpression(f"'{text[position : position + 10]}' is no number or operator")
        tokens.append(match[1] or match[2])
        position = match.end()
    return tokens


class _Parser:
    """sum: product (+|- product)*; product: unary (*|/ unary)*; unary: -? (number | bracketed sum).
    Depth is bounded by MAX_CHARS."""

    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens
        self.numbers: list[int] = []

    def take(self, wanted: str) -> str:
        """The next token where it is one of `wanted`'s characters, else ""."""
        return self.rest.pop(0) if self.rest and self.rest[0] in wanted else ""

    def sum(self) -> Fraction:
        value = self.product()
        while operator := self.take("+-"):
            term = self.product()
            value = value + term if operator == "+" else value - term
        return value

    def product(self) -> Fraction:
        value = self.unary()
        while operator := self.take("*/"):
            factor = self.unary()
            if operator == "/" and factor == 0:
                raise NotAnExpression("division by zero")
            value = value * factor if operator == "*" else value / factor
        return value

    def unary(self) -> Fraction:
        if self.take("-"):
            return -self.unary()
        if self.take("("):
            value = self.sum()
            if not self.take(")"):
                raise NotAnExpression("a bracket is not closed")
            return value
        if not self.rest or not self.rest[0].isdigit():
            raise NotAnExpression("a number is missing")
        self.numbers.append(int(self.rest.pop(0)))
        return Fraction(self.numbers[-1])
