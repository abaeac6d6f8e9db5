"""Written steps of whole-number arithmetic, small enough for a small model: one decimal place at a time."""

from math import comb


def multisets(values: int, size: int) -> int:
    """How many ways to choose `size` of `values` things when repeats are allowed and order is not."""
    return comb(values + size - 1, size)


def places(number: int) -> list[int]:
    """342 -> [300, 40, 2]; zeros are left out."""
    text = str(number)
    return [int(digit) * 10 ** (len(text) - 1 - i) for i, digit in enumerate(text) if digit != "0"]


def chain(total: int, term: int, sign: str = "+") -> str:
    """`total + term`, the term's places added one after another, largest first, as a chain of equal sums:
    chain(27, 45) -> "27+45=67+5=72"."""
    assert min(total, term) >= 0, (total, term)
    rest = places(term)
    text = f"{total}{sign}{term}"
    while rest:
        total += rest.pop(0) if sign == "+" else -rest.pop(0)
        text += f"={total}" + (f"{sign}{sum(rest)}" if rest else "")
    return text if term else f"{text}={total}"
