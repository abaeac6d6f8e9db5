"""How a model is to be sampled where nobody says: generation_config.json, which has its end ids too."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.models.shards import read_json

GENERATION_CONFIG = "generation_config.json"


@dataclass(frozen=True)
class GenerationDefaults:
    """Without a file of its own: what DeepSeek-R1 was evaluated with and recommends (arXiv 2501.12948,
    section 3). top_k 0: all tokens."""

    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 0

    def to_json(self) -> dict[str, Any]:
        """With what transformers calls sampling at all."""
        own = {"do_sample": self.temperature > 0, "temperature": self.temperature, "top_p": self.top_p}
        return own | ({"top_k": self.top_k} if self.top_k else {})


R1S_OWN = GenerationDefaults()
RANGES = {"temperature": (0.0, 2.0), "top_p": (1e-6, 1.0), "top_k": (0, 2**31 - 1)}


def generation_defaults(folder: Path, say: Callable[[str], None] = lambda _: None) -> GenerationDefaults:
    """A folder's own; `say` gets a line on what in it can't be."""
    path = folder / GENERATION_CONFIG
    raw = read_json(path) if path.exists() else {}
    found: dict[str, Any] = {}
    for name, (least, most) in RANGES.items():
        value = raw.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            say(f"{path}: {name} {value!r} isn't from {least:g} to {most:g}; left out")
            continue
        found[name] = int(value) if name == "top_k" else float(value)
    return GenerationDefaults(**found)
