"""What a model is, in lines: made from the model and its lineage, never typed by hand."""

from dataclasses import dataclass
from typing import Any

from shoestring.lm import LanguageModel
from shoestring.models.parameters import cache_per_token, count_parameters
from shoestring.origin import Lineage


@dataclass(frozen=True)
class Sizes:
    """Parameters by part, and what one token of context keeps in the cache."""

    parameters: dict[str, int]
    cache_bytes_per_token: int

    @property
    def total(self) -> int:
        return sum(self.parameters.values())


def sizes(lm: LanguageModel) -> Sizes:
    counted = {part: count for part, count in count_parameters(lm.config).parts.items() if count}
    return Sizes(counted, cache_per_token(lm.config, lm.dtype.itemsize).own)


def headline(lm: LanguageModel) -> str:
    """Name, stages, base, copy and licence in one line."""
    base, *steps = lm.lineage.stages
    original = base.detail.get("copy_of", base.name)
    made = "as it was taken"
    if steps:
        made = f"made from {base.name} by {' -> '.join(f'{s.name} ({s.job})' for s in steps)}"
    copy = f"{original}, {base.detail['precision']}" if "precision" in base.detail else original
    return f"{lm.name}: {made}; base {copy}; licence {base.detail.get('licence', 'unknown')}"


def lineage_lines(lineage: Lineage) -> list[str]:
    lines = []
    for stage in lineage.stages:
        detail = ", ".join(f"{key} {_short(value)}" for key, value in stage.detail.items())
        lines.append(
            f"{stage.name} ({stage.job}{', ' + stage.date if stage.date else ''}): {detail or 'no detail'}"
        )
        for origin in stage.origins:
            teacher = f", written by {origin.teacher}" if origin.teacher else ""
            lines.append(f"  {origin.source}, licence {origin.licence}{teacher}")
    return lines


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
