"""Powers, roots and factorials of exact values, each with its size known before it is worked out."""

import math
from fractions import Fraction

from shoestring.tasks.exact import (
    MAX_BITS,
    ONE,
    OPAQUE,
    Base,
    Exact,
    TooBig,
    Unreadable,
    letter,
    make,
    rational,
    tidy,
)

MAX_FACTORIAL = 5_000
MAX_ROOT = 12
TRIAL = 20_000  # divisors up to here are tried: a few milliseconds


def power(base: Exact, exponent: Exact) -> Exact:
    wanted = exponent.fraction
    if wanted is None:
        return letter(f"{OPAQUE}({base})^({exponent})")
    if abs(wanted.numerator) > MAX_BITS or wanted.denominator > MAX_ROOT:
        if base.fraction in (0, 1) and wanted > 0:
            return base
        raise TooBig("an exponent is too big")
    raised = whole_power(base, wanted.numerator)
    return raised if wanted.denominator == 1 else root(raised, wanted.denominator)


def whole_power(base: Exact, exponent: int) -> Exact:
    if exponent < 0:
        return rational(1) / whole_power(base, -exponent)
    if len(base.over) <= 1 and len(base.under) == 1:
        over = {}
        for term, factor in base.over.items():
            bits = factor.numerator.bit_length() + factor.denominator.bit_length()
            if bits * exponent > 4 * MAX_BITS:
                raise TooBig("a power is too big")
            over[frozenset((name, times * exponent) for name, times in term if times * exponent)] = (
                factor**exponent
            )
        return make(tidy(over), ONE) if exponent else rational(1)
    result = rational(1)
    while exponent:
        if exponent & 1:
            result = result * base
        exponent >>= 1
        if exponent:
            base = base * base
    return result


def root(value: Exact, degree: int) -> Exact:
    """The real root of a single term; a square root of a negative number is i times a real one."""
    if not value.over:
        return value
    if len(value.over) != 1 or len(value.under) != 1:
        raise Unreadable("a root of a sum")
    ((term, factor),) = value.over.items()
    powers: dict[Base, Fraction] = {}
    for base, times in term:
        whole_square = isinstance(base, str) and base not in ("pi", "e") and degree % 2 == 0
        if base == "i" or (whole_square and times % 2 == 0):
            raise Unreadable("a root whose sign isn't known")
        powers[base] = times / degree
    sign = Fraction(1)
    if factor < 0 and degree % 2:
        sign = Fraction(-1)
    elif factor < 0:
        if degree != 2:
            raise Unreadable("a root of a negative number")
        powers["i"] = Fraction(1)
    for number, direction in ((abs(factor.numerator), 1), (factor.denominator, -1)):
        if degree == 2 and math.isqrt(number) ** 2 == number:
            sign *= Fraction(math.isqrt(number)) ** direction
            continue
        for prime, times in factors(number).items():
            powers[prime] = powers.get(prime, Fraction(0)) + Fraction(direction * times, degree)
    return Exact(tidy({frozenset(powers.items()): sign}), ONE)


def factorial(value: Exact) -> Exact:
    number = value.fraction
    if number is None:
        return letter(f"{OPAQUE}({value})!")
    if number.denominator != 1 or number < 0:
        raise Unreadable("a factorial of no whole number")
    if number > MAX_FACTORIAL:
        raise TooBig("a factorial is too big")
    return rational(math.factorial(int(number)))


def factors(number: int) -> dict[int, int]:
    """prime -> times. A rest that the trial divisions leave must be a prime."""
    found: dict[int, int] = {}
    for prime in range(2, TRIAL):
        if prime * prime > number:
            break
        while number % prime == 0:
            number //= prime
            found[prime] = found.get(prime, 0) + 1
    if number == 1:
        return found
    if number < TRIAL * TRIAL:
        found[number] = found.get(number, 0) + 1
        return found
    raise Unreadable("a root of a number too large to factor")
