"""What an answer can be, and whether two of them are the same. Three-valued: None is "undecided"."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeVar

from shoestring.tasks.exact import Exact, letter, proportional, rational, same_exact

INFINITY = "oo"
MAX_ITEMS = 60
Brackets = Literal["()", "[]", "{}", "", "matrix", ":"]  # "": a bare list, whose order says nothing


@dataclass(frozen=True)
class Number:
    """A number or an expression; "x = 3" has the name x, "3 cm" the unit cm, "50 %" the unit % and value 50,
    "101_2" the unit _2."""

    exact: Exact
    unit: str = ""
    name: str = ""


@dataclass(frozen=True)
class Group:
    brackets: Brackets
    items: tuple["Value", ...]
    name: str = ""


@dataclass(frozen=True)
class Interval:
    low: Exact
    high: Exact
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True)
class Union:
    parts: tuple[Interval, ...]


@dataclass(frozen=True)
class Equation:
    difference: Exact  # left minus right: both say that it is 0


Value = Number | Group | Interval | Union | Equation
V = TypeVar("V", Value, Interval)


@dataclass(frozen=True)
class Rules:
    """percent: the task takes 50 % for 1/2. asks_percent: the question asks for percent, so 50 is 50 %."""

    percent: bool = False
    asks_percent: bool = False


def same(gold: Value, said: Value, rules: Rules) -> bool | None:
    if isinstance(gold, Number) and isinstance(said, Number):
        return _same_numbers(gold, said, rules)
    if isinstance(gold, Equation | Number) and isinstance(said, Equation | Number):
        left, right = _equation(gold), _equation(said)
        return left is not None and right is not None and proportional(left.difference, right.difference)
    gold, said = _as_span(gold, said), _as_span(said, gold)
    if isinstance(gold, Interval | Union) and isinstance(said, Interval | Union):
        return _same_spans(_spans(gold), _spans(said))
    if isinstance(gold, Group | Number) and isinstance(said, Group | Number):
        return _same_groups(_group(gold), _group(said), rules)
    return False


def _same_numbers(gold: Number, said: Number, rules: Rules) -> bool | None:
    if gold.name and said.name and gold.name != said.name:
        left, right = _equation(gold), _equation(said)
        return left is not None and right is not None and proportional(left.difference, right.difference)
    equal = same_exact(gold.exact, said.exact)
    if (gold.unit == "%") == (said.unit == "%"):
        return equal if not gold.unit or not said.unit or gold.unit == said.unit else False
    if rules.percent:
        return same_exact(_share(gold), _share(said))
    return equal if rules.asks_percent or gold.unit == "%" else False


def _share(number: Number) -> Exact:
    return number.exact * rational(Fraction(1, 100)) if number.unit == "%" else number.exact


def _equation(value: Equation | Number) -> Equation | None:
    if isinstance(value, Equation):
        return value
    return Equation(letter(value.name) - value.exact) if value.name else None


def _same_groups(gold: Group, said: Group, rules: Rules) -> bool | None:
    if len(gold.items) != len(said.items):
        return False
    kinds = {gold.brackets, said.brackets}
    if kinds <= {"", "{}"} and not _coordinates(gold) and not _coordinates(said):
        return _same_unordered(gold.items, said.items, lambda a, b: same(a, b, rules))
    if len(kinds) == 2 and ("" not in kinds or not (gold.brackets or _coordinates(gold))):
        return False  # a point is no list of solutions; a bare list may stand for a point
    return _all(same(_nameless(a), _nameless(b), rules) for a, b in zip(gold.items, said.items, strict=True))


def _coordinates(group: Group) -> bool:
    """ "x = 2, y = 5": different names, in order."""
    names = [item.name if isinstance(item, Number) else "" for item in group.items]
    return (
        len(names) > 1 and all(names) and len(set(names)) == len(names) and not any("_" in n for n in names)
    )


def _nameless(value: Value) -> Value:
    return Number(value.exact, value.unit) if isinstance(value, Number) else value


def _group(value: Group | Number) -> Group:
    return value if isinstance(value, Group) else Group("", (value,))


def _same_unordered(
    gold: Sequence[V], said: Sequence[V], equal: Callable[[V, V], bool | None]
) -> bool | None:
    """Each of one side has a partner of its own on the other."""
    rest, undecided = list(said), False
    for a in gold:
        verdicts = [equal(a, b) for b in rest]
        if True not in verdicts:
            undecided = None in verdicts
            if not undecided:
                return False
            continue
        rest.pop(verdicts.index(True))
    return None if undecided else not rest


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    found = list(verdicts)
    return False if False in found else None if None in found else True


def _as_span(value: Value, other: Value) -> Value:
    """(0, 1) is an open interval where the other side is one; otherwise it stays a point."""
    if not isinstance(value, Group) or value.brackets != "()" or len(value.items) != 2:
        return value
    if isinstance(other, Interval | Union):
        low, high = value.items
        if isinstance(low, Number) and isinstance(high, Number):
            return Interval(low.exact, high.exact, False, False)
    return value


def _spans(value: Interval | Union) -> tuple[Interval, ...]:
    """Sorted, and joined where they overlap or touch, if all ends are rational or infinite."""
    parts = value.parts if isinstance(value, Union) else (value,)
    keyed = [(_place(part.low), _place(part.high), part) for part in parts]
    if any(low is None or high is None for low, high, _ in keyed):
        return parts
    ends = [(low, high, part) for low, high, part in keyed if low is not None and high is not None]
    ends.sort(key=lambda end: (end[0], not end[2].low_closed))
    joined: list[Interval] = []
    for low, high, part in ends:
        before = _place(joined[-1].high) if joined else None
        if (
            before is None
            or low > before
            or (low == before and not (part.low_closed or joined[-1].high_closed))
        ):
            joined.append(part)
        elif high > before or (high == before and part.high_closed):
            joined[-1] = Interval(joined[-1].low, part.high, joined[-1].low_closed, part.high_closed)
    return tuple(joined)


def _place(end: Exact) -> tuple[int, Fraction] | None:
    """Where an end lies, for sorting: (-1, 0) is minus infinity."""
    if end.fraction is not None:
        return 0, end.fraction
    for sign in (-1, 1):
        if same_exact(end, letter(INFINITY) * rational(sign)):
            return sign, Fraction(0)
    return None


def _same_spans(gold: tuple[Interval, ...], said: tuple[Interval, ...]) -> bool | None:
    if len(gold) != len(said):
        return False
    return _same_unordered(gold, said, _same_interval)


def _same_interval(a: Interval, b: Interval) -> bool | None:
    if (a.low_closed, a.high_closed) != (b.low_closed, b.high_closed):
        return False
    return _all((same_exact(a.low, b.low), same_exact(a.high, b.high)))


def plus_minus(plus: Value, minus: Value) -> Value:
    """The two values that a plus-minus stands for; one where they are the same."""
    items: list[Value] = []
    for value in (plus, minus):
        items += value.items if isinstance(value, Group) and not value.brackets else [value]
    return plus if same(plus, minus, Rules()) else Group("", tuple(items))
