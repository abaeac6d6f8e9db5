"""Reads one expression's tokens into an exact value: precedence as on paper, juxtaposition multiplies, a
whole number before a fraction is a mixed number."""

import math
from collections.abc import Sequence
from fractions import Fraction

from shoestring.tasks.exact import OPAQUE, Exact, NoValue, TooBig, Unreadable, letter, rational
from shoestring.tasks.exact_powers import MAX_ROOT, factorial, power, root
from shoestring.tasks.maths_text import Token

MAX_TEN = 4_000  # of a scientific notation's exponent
MAX_BINOMIAL = 2_000
GREEK = frozenset(
    """
    alpha beta gamma delta epsilon theta lambda mu nu rho sigma tau phi varphi omega Delta
    """.split()  # noqa: SIM905, a list would be a page
)
CONSTANT_NAMES = {"pi", "e", "i", "oo"}
CONSTANTS = {"\\pi": "pi", "\\infty": "oo", "\\imath": "i"}
FUNCTIONS = {
    f"\\{n}"
    for n in ["sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "arcsin", "arccos", "arctan"]
}
TIMES = {"*", "\\cdot", "\\times", "\\ast"}
OVER = {"/", "\\div"}
DEGREE = ("\\circ", "\\degree")
END = Token("sign", "")


class Expression:
    """`read` goes as far as an expression goes; `rest` is what it left: a unit, or something unreadable.
    base: what a number's subscript says ("2" of 101_2)."""

    def __init__(self, part: Sequence[Token]) -> None:
        self._part = list(part)
        self._at = 0
        self.base = ""

    @property
    def rest(self) -> list[Token]:
        return self._part[self._at :]

    def read(self) -> Exact:
        value = self._sum()
        if self.base and (self.rest or len(self._part) > 8):
            raise Unreadable("arithmetic in another base")
        return value

    @property
    def _next(self) -> Token:
        return self._part[self._at] if self._at < len(self._part) else END

    def _peek(self, ahead: int) -> Token:
        return self._part[self._at + ahead] if self._at + ahead < len(self._part) else END

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _expect(self, *texts: str) -> None:
        if self._take().text not in texts:
            raise Unreadable(f"{texts[0]} is missing")

    def _sum(self) -> Exact:
        total = self._product()
        while self._next.kind == "sign" and self._next.text in ("+", "-"):
            sign = self._take().text
            term = self._product()
            total = total + term if sign == "+" else total - term
        return total

    def _product(self) -> Exact:
        total = self._factor()
        while True:
            token = self._next
            if token.text in TIMES:
                self._take()
                total = total * self._factor()
            elif token.text in OVER:
                self._take()
                total = total / self._factor()
            elif token.kind == "number":
                raise NoValue("two numbers side by side")
            elif self._starts_factor(token):
                total = total * self._power()
            else:
                return total

    def _starts_factor(self, token: Token) -> bool:
        if token.kind == "command":
            return token.text[1:] in GREEK or token.text in (
                *CONSTANTS, *FUNCTIONS, "\\frac", "\\sqrt", "\\binom"
            )  # fmt: skip
        return token.kind == "name" or (token.kind == "open" and token.text != "\\{" and self._has_value())

    def _has_value(self) -> bool:
        """Whether the bracket ahead holds more than words: "64 (sixty-four)" is no product."""
        return self._peek(1).kind != "word"

    def _factor(self) -> Exact:
        if self._next.text in ("-", "+"):
            sign = self._take().text
            value = self._factor()
            return -value if sign == "-" else value
        return self._power()

    def _power(self) -> Exact:
        value = self._atom()
        while True:
            token = self._next.text
            if token == "!":
                self._take()
                value = factorial(value)
            elif token in ("^", "**") and not self._degree_follows():
                self._take()
                value = power(value, self._exponent())
            elif token == "_" and not self.base and value.fraction is not None:
                self._take()
                self.base = self._subscript()
            else:
                return value

    def _degree_follows(self) -> bool:
        after = self._peek(1).text
        return after in DEGREE or (after == "{" and self._peek(2).text in DEGREE)

    def _exponent(self) -> Exact:
        negative = self._next.text == "-"
        if self._next.text in ("-", "+"):
            self._take()
        return -self._atom() if negative else self._atom()

    def _subscript(self) -> str:
        if self._next.text != "{":
            return self._take().text
        self._take()
        text = ""
        while self._next is not END and self._next.text != "}":
            text += self._take().text
        self._expect("}")
        return text

    def _atom(self) -> Exact:
        token = self._take()
        if token.kind == "number":
            return self._mixed(number(token.text))
        if token.kind == "name":
            return letter(self._named(token.text))
        if token.kind == "open" and token.text != "\\{":
            value = self._sum()
            if self._next.text == "\\over":
                self._take()
                value = value / self._sum()
            self._expect(")" if token.text == "(" else "]" if token.text == "[" else "}")
            return value
        if token.kind == "command":
            return self._command(token.text)
        raise Unreadable(f"{token.text or 'the end'!r} where a value is wanted")

    def _named(self, name: str) -> str:
        if self._next.text == "_":
            self._take()
            return f"{name}_{self._subscript()}"
        return name

    def _mixed(self, whole: Fraction) -> Exact:
        """2 1/2 and 2\\frac{1}{2}."""
        fraction: Fraction | None = None
        if whole.denominator == 1:
            ahead = [self._peek(i) for i in range(7)]
            texts = [token.text for token in ahead]
            if [token.kind for token in ahead[:3]] == ["number", "sign", "number"] and texts[1] == "/":
                fraction, length = _proper(texts[0], texts[2]), 3
            elif texts[0] == "\\frac" and [texts[1], texts[3], texts[4], texts[6]] == ["{", "}", "{", "}"]:
                fraction, length = _proper(texts[2], texts[5]), 7
            elif texts[0] == "\\frac" and ahead[1].kind == "number" and len(texts[1]) == 2:
                fraction, length = _proper(*texts[1]), 2
        if fraction is None:
            return rational(whole)
        self._at += length
        return rational(whole + fraction)

    def _command(self, name: str) -> Exact:
        if name in CONSTANTS:
            return letter(CONSTANTS[name])
        if name[1:] in GREEK:
            return letter(self._named(name[1:]))
        if name == "\\frac":
            over = self._argument()
            return over / self._argument()
        if name == "\\sqrt":
            return self._root()
        if name == "\\binom":
            return _binomial(self._argument(), self._argument())
        if name in FUNCTIONS:
            return self._function(name[1:])
        raise Unreadable(f"{name} isn't known")

    def _root(self) -> Exact:
        degree = Fraction(2)
        if self._next.text == "[":
            self._take()
            wanted = self._sum().fraction
            self._expect("]")
            if wanted is None or wanted.denominator != 1 or not 2 <= wanted <= MAX_ROOT:
                raise Unreadable("a root of another degree than 2 to 12")
            degree = wanted
        return root(self._argument(whole=True), int(degree))

    def _argument(self, whole: bool = False) -> Exact:
        """What a LaTeX command takes: a group, or one sign; of a number its first digit, unless `whole`."""
        token = self._next
        if token.kind == "number" and not whole and len(token.text) > 1:
            self._part[self._at] = Token("number", token.text[1:])
            return rational(Fraction(token.text[0]))
        return rational(number(self._take().text)) if token.kind == "number" else self._atom()

    def _function(self, name: str) -> Exact:
        if self._next.text == "_":
            self._take()
            base = self._subscript()
            name = "ln" if name == "log" and base == "e" else f"{name}_{base}"
        if self._next.text == "^":
            raise Unreadable("a power of a function's name")
        value = self._atom()
        while self._next.kind == "name" and self._peek(-1).kind != "close":
            value = value * self._power()
        return power(letter("e"), value) if name == "exp" else letter(f"{OPAQUE}{name}({value})")


def number(text: str) -> Fraction:
    """A token of digits: decimals, 6.02e23, and 0r1r6 for 0.1666..."""
    if "r" in text:
        whole, first, cycle = text.split("r")
        nines = (10 ** len(cycle) - 1) * 10 ** len(first)
        return Fraction(int(whole + first), 10 ** len(first)) + Fraction(int(cycle), nines)
    digits, _, ten = text.lower().partition("e")
    if ten and abs(int(ten[:8])) > MAX_TEN:
        raise TooBig("an exponent is too big")
    return Fraction(digits) * Fraction(10) ** int(ten or 0)


def _proper(over: str, under: str) -> Fraction | None:
    if over.isdigit() and under.isdigit() and 0 < int(over) < int(under):
        return Fraction(int(over), int(under))
    return None


def _binomial(n: Exact, k: Exact) -> Exact:
    top, bottom = n.fraction, k.fraction
    if (
        top is None
        or bottom is None
        or top.denominator != 1
        or bottom.denominator != 1
        or top < 0
        or bottom < 0
    ):
        raise Unreadable("a binomial coefficient of other things than whole numbers")
    if top > MAX_BINOMIAL:
        raise TooBig("a binomial coefficient is too big")
    return rational(math.comb(int(top), int(bottom)))
