"""What a model's name and card must have because of what reached it: Llama's and Qwen's naming duties,
conditions that are passed on to users. Applied to a name and a card, and checked."""

from collections.abc import Sequence

from shoestring.errors import BadInput
from shoestring.origin import Lineage
from shoestring.provenance.reach import reaches
from shoestring.provenance.terms import Duty


def duties_of(lineage: Lineage) -> tuple[Duty, ...]:
    """Distinct, in the order in which they reached the model."""
    found = (reach.term.duty for reach in reaches(lineage) if reach.term)
    return tuple(dict.fromkeys(duty for duty in found if duty))


def proper_name(name: str, duties: Sequence[Duty]) -> str:
    """The name as it must be to be given to others: "Llama-" before it where that is asked for."""
    for duty in duties:
        if duty.name_begins and not _begins(name, duty.name_begins):
            name = f"{duty.name_begins}-{name}"
    return name


def card_lines(duties: Sequence[Duty]) -> list[str]:
    """What the card must have, a line each."""
    shown = [duty.show_one_of[0] for duty in duties if duty.show_one_of]
    return list(dict.fromkeys([*shown, *(duty.pass_on for duty in duties if duty.pass_on)]))


def faults(name: str, card: str, duties: Sequence[Duty]) -> list[str]:
    """Which duties a name and a card don't meet, in words."""
    found = []
    for duty in duties:
        if duty.name_begins and not _begins(name, duty.name_begins):
            found.append(f"its name must begin with {duty.name_begins}: {proper_name(name, [duty])}")
        if duty.show_one_of and not any(phrase in card for phrase in duty.show_one_of):
            found.append("its card must show " + " or ".join(f'"{p}"' for p in duty.show_one_of))
        if duty.pass_on and duty.pass_on not in card:
            found.append(f'its card must pass on: "{duty.pass_on}"')
    return list(dict.fromkeys(found))


def require_named(name: str, card: str, lineage: Lineage) -> None:
    """Raises BadInput where a model of this lineage may not be given to others under this name and card."""
    if wrong := faults(name, card, duties_of(lineage)):
        raise BadInput(f"model '{name}': {'; '.join(wrong)}")


def _begins(name: str, start: str) -> bool:
    """Names of owners aren't part of it: "me/Llama-x"."""
    return name.rsplit("/", 1)[-1].lower().startswith(start.lower())
