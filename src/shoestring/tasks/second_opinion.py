"""math-verify as the second reader, for what exact.py can't decide and to check what it did. Without its
timeouts, which are signals: what could take long is not shown to it, and scorers run in processes that can
be killed."""

import importlib
import logging
import re
from functools import lru_cache
from typing import Any

MAX_CHARS = 200
LONG = re.compile(
    r"\d{31}|\^\s*\{?\s*-?\d{3}|[eE]\+?\d{3}|!|\\(?:int|iint|sum|prod|lim|binom|oint|det)(?![a-z])"
)
NESTED_POWER = re.compile(r"\^\s*(?:\{[^{}]*\^|\w+\s*\^|\{[^{}]*\{)")
MAX_DEPTH = 6
MAX_POWERS = 5


def load() -> None:
    """Import it, and read once: its grammar is built with the first text, which takes seconds."""
    second_opinion("\\frac{1}{2}+x", "x+0.5")


def second_opinion(gold: str, said: str) -> bool | None:
    """Whether the two are the same value; None where it can't read one of them or isn't shown them."""
    if not (fit(gold) and fit(said)):
        return None
    left, right = _parsed(gold.strip(" .$")), _parsed(said.strip(" .$"))
    if not left or not right:
        return None
    try:
        return bool(_library().verify(left, right, timeout_seconds=None, raise_on_error=True))
    except (Exception, RecursionError):  # sympy raises whatever it likes: no opinion then
        return None


def fit(text: str) -> bool:
    """Whether it is small: no tower of powers, no long number, nothing to sum up or integrate."""
    depth = deepest = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return (
        0 < len(text) <= MAX_CHARS
        and deepest <= MAX_DEPTH
        and text.count("^") + text.count("**") <= MAX_POWERS
        and text.isascii()
        and not LONG.search(text)
        and not NESTED_POWER.search(text)
    )


@lru_cache(maxsize=1024)
def _parsed(text: str) -> list[Any]:
    try:
        return list(_library().parse(f"${text}$", fallback_mode="no_fallback", parsing_timeout=None))
    except (Exception, RecursionError):
        return []


@lru_cache(maxsize=1)
def _library() -> Any:
    """Imported at the first use: it takes a second, and only maths problems need it."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that we gave it no timeout
    return importlib.import_module("math_verify")
