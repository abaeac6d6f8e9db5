"""The kinds of things that the scan looks for, and one that was found."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["identity", "cutoff", "refusal", "personal"]
KINDS: tuple[Kind, ...] = ("identity", "cutoff", "refusal", "personal")


@dataclass(frozen=True)
class Hit:
    """What a rule found, at text[start:end]."""

    kind: Kind
    start: int
    end: int
    rule: str
