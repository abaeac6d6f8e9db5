"""Exact arithmetic for comparing answers: no floats. A value is one sum over another, of products of rational
numbers, roots of primes, pi, e, i and letters, so that \\sqrt{12} is 2\\sqrt{3} and (x+1)^2 is x^2+2x+1.

Roots of different primes' products are linearly independent over the rationals (Besicovitch 1940): two sums
are equal only where they are the same term by term. What isn't known to be exact (a sine, a logarithm, 2^x)
is carried as an opaque letter: equal spellings are equal, different ones are undecided.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

MAX_BITS = 60_000  # of any number on the way: 2006! has 19 thousand
MAX_TERMS = 120  # of a sum
MAX_PRODUCTS = 3_000  # of terms, in one multiplication
OPAQUE = "~"  # first character of an opaque letter's name

Base = int | str  # a prime under a root, or a letter
Term = frozenset[tuple[Base, Fraction]]
Sum = dict[Term, Fraction]
NO_LETTERS: Term = frozenset()


class Unreadable(Exception):
    """This reader can't say what the text means."""


class NoValue(Unreadable):
    """The text says no one value: it negates, bounds, divides by zero. No other reader need be asked."""


class TooBig(NoValue):
    """Its value is past the limits: no symbolic work may be started on it."""


@dataclass(frozen=True)
class Exact:
    """over / under; neither holds a zero coefficient, and a single term is never left under."""

    over: Sum
    under: Sum

    @property
    def fraction(self) -> Fraction | None:
        if not self.over:
            return Fraction(0)
        plain = self.over.keys() == {NO_LETTERS} and self.under.keys() == {NO_LETTERS}
        return self.over[NO_LETTERS] / self.under[NO_LETTERS] if plain else None

    @property
    def letters(self) -> set[str]:
        terms = (*self.over, *self.under)
        return {base for term in terms for base, _ in term if isinstance(base, str)}

    @property
    def opaque(self) -> bool:
        return any(letter.startswith(OPAQUE) for letter in self.letters)

    def __add__(self, other: "Exact") -> "Exact":
        if self.under == other.under:
            return make(_add(self.over, other.over), self.under)
        over = _add(_times(self.over, other.under), _times(other.over, self.under))
        return make(over, _times(self.under, other.under))

    def __neg__(self) -> "Exact":
        return Exact({term: -factor for term, factor in self.over.items()}, self.under)

    def __sub__(self, other: "Exact") -> "Exact":
        return self + -other

    def __mul__(self, other: "Exact") -> "Exact":
        return make(_times(self.over, other.over), _times(self.under, other.under))

    def __truediv__(self, other: "Exact") -> "Exact":
        return make(_times(self.over, other.under), _times(self.under, other.over))

    def __str__(self) -> str:
        under = _spell(self.under)
        return _spell(self.over) if under == "1" else f"({_spell(self.over)})/({under})"


ONE: Sum = {NO_LETTERS: Fraction(1)}


def rational(value: Fraction | int) -> Exact:
    value = Fraction(value)
    _check(value)
    return Exact({NO_LETTERS: value} if value else {}, ONE)


def letter(name: str) -> Exact:
    return Exact({frozenset({(name, Fraction(1))}): Fraction(1)}, ONE)


def make(over: Sum, under: Sum) -> Exact:
    if not under:
        raise NoValue("it divides by zero")
    if len(under) == 1:  # move the one term up
        ((term, factor),) = under.items()
        inverse = {frozenset((base, -power) for base, power in term): 1 / factor}
        return Exact(_times(over, inverse), ONE)
    return Exact(over, under)


def same_exact(a: Exact, b: Exact) -> bool | None:
    """None: undecided, where opaque letters stand in the way."""
    if _times(a.over, b.under) == _times(b.over, a.under):
        return True
    return None if a.opaque or b.opaque else False


def proportional(a: Exact, b: Exact) -> bool:
    """Whether a = 0 and b = 0 say the same: one numerator is a number times the other."""
    if a.over.keys() != b.over.keys() or not a.over:
        return a.over == b.over
    term = next(iter(a.over))
    ratio = a.over[term] / b.over[term]
    return all(factor == ratio * b.over[key] for key, factor in a.over.items())


def _add(a: Sum, b: Sum) -> Sum:
    total = dict(a)
    for term, factor in b.items():
        total[term] = total.get(term, Fraction(0)) + factor
    return _checked(total)


def _times(a: Sum, b: Sum) -> Sum:
    if len(a) * len(b) > MAX_PRODUCTS:
        raise TooBig("a product has too many terms")
    total: Sum = {}
    for left, x in a.items():
        for right, y in b.items():
            powers = dict(left)
            for base, times in right:
                powers[base] = powers.get(base, Fraction(0)) + times
            for term, factor in tidy({frozenset(powers.items()): x * y}).items():
                total[term] = total.get(term, Fraction(0)) + factor
    return _checked(total)


def tidy(values: Sum) -> Sum:
    """Whole powers of primes and of i become part of the factor."""
    tidied: Sum = {}
    for term, factor in values.items():
        kept: list[tuple[Base, Fraction]] = []
        for base, times in term:
            if isinstance(base, int):
                whole = math.floor(times)
                if abs(whole) * base.bit_length() > MAX_BITS:
                    raise TooBig("a power is too big")
                factor, times = factor * Fraction(base) ** whole, times - whole
            elif base == "i" and times.denominator == 1:
                if times % 4 in (2, 3):
                    factor = -factor
                times = times % 2
            if times:
                kept.append((base, times))
        tidied[frozenset(kept)] = tidied.get(frozenset(kept), Fraction(0)) + factor
    return _checked(tidied)


def _checked(values: Sum) -> Sum:
    kept = {term: factor for term, factor in values.items() if factor}
    if len(kept) > MAX_TERMS:
        raise TooBig("a sum has too many terms")
    for factor in kept.values():
        _check(factor)
    return kept


def _check(value: Fraction) -> None:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise TooBig("a number is too big")


def _spell(values: Sum) -> str:
    terms = []
    for term, factor in values.items():
        bases = sorted((str(base), times) for base, times in term)
        # numbers too long to print (Python refuses to) never meet: only opaque letters are spelled
        number = (
            hex(factor.numerator)
            if factor.denominator == 1
            else f"{factor.numerator:x}/{factor.denominator:x}"
        )
        terms.append("*".join([number, *(f"{base}^{times}" for base, times in bases)]))
    return "1" if values == ONE else "+".join(sorted(terms)) or "0"
