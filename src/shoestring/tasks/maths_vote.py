"""One spelling for what reads as one value, by which samples' answers are counted as votes: 0.5 and 1/2 are
one vote, and so are x + 1 and 1 + x, right or wrong. Forms that the reader doesn't bring together (roots in a
denominator) are votes apart."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from shoestring.tasks.maths_value import Group, Value

UNORDERED = ("{}", "")  # brackets of sets and bare lists


def vote_of(value: Value) -> str:
    """The same in every process, whatever its hashes are. "" for thousands of digits, which Python doesn't
    write out."""
    try:
        return _text(value)
    except ValueError:
        return ""


def _text(value: Any) -> str:
    if isinstance(value, Group) and value.brackets in UNORDERED:
        return f"{value.brackets}{value.name}[{', '.join(sorted(map(_text, value.items)))}]"
    if dataclasses.is_dataclass(value):
        fields = (_text(getattr(value, field.name)) for field in dataclasses.fields(value))
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{_text(key)}: {_text(own)}' for key, own in value.items()))}}}"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return str(value)
