"""Who a reply claims to be, held against the base that the lineage names."""

import re
from typing import Literal

from shoestring.evals.identity_reader import families_in
from shoestring.origin import Lineage
from shoestring.text.makers import FAMILIES

Claim = Literal["own", "other", "both", "none"]

# family of the base: every name under which it and its maker go; the first is shown to people
MAKERS: dict[str, tuple[str, ...]] = {key: family.models + family.makers for key, family in FAMILIES.items()}


def base_family(lineage: Lineage, model_name: str = "") -> str | None:
    """The maker's key for the oldest stage that names one; None where the lineage doesn't say."""
    for stage in lineage.stages:
        said = " ".join([stage.name, *(str(value) for value in stage.detail.values())]).lower()
        found = next((family for family in MAKERS if family in said), None)
        if found:
            return found
    return next((family for family in MAKERS if family in model_name.lower()), None)


def lineage_families(lineage: Lineage | None, model_name: str = "") -> tuple[frozenset[str], bool]:
    """Every family that the model comes from: its base, its stages, the teachers of its rows and theirs. And
    whether that is known: a stage of unknown making tells nothing but by its name."""
    if lineage is None:
        named = families_in(model_name)
        return frozenset(named), bool(named)
    taught = [stage for several in lineage.teachers.values() for stage in several]
    stages = [*lineage.stages, *taught]
    texts = [model_name, *lineage.teachers]
    for stage in stages:
        texts += [stage.name, *(str(value) for value in stage.detail.values())]
        texts += [origin.teacher for origin in stage.origins if origin.teacher]
    named = set().union(*map(families_in, texts))
    made_here = bool(lineage.stages) and all(stage.job != "unknown" for stage in lineage.stages)
    return frozenset(named), made_here or bool(named)


def claim(text: str, own: str | None) -> Claim:
    """Whose names a reply has. With an unknown base every name is another's."""
    return kind_of(families_named(text), own)


def kind_of(named: set[str], own: str | None) -> Claim:
    """Of the families that a reply claims."""
    if not named:
        return "none"
    if own in named:
        return "own" if named == {own} else "both"
    return "other"


def families_named(text: str) -> set[str]:
    return {family for family, names in MAKERS.items() if any(_has(text, name) for name in names)}


def _has(text: str, name: str) -> bool:
    # short names are words ("Meta", not "metal"); a version may follow ("Qwen2", "SmolLM2-135M")
    return re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![a-z])", text, re.IGNORECASE) is not None
