"""Typed reading of one architecture's keys of a GGUF file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.errors import BadInput
from shoestring.models.config import RopeScaling

SCALINGS = ("none", "linear", "yarn")


class Metadata:
    """Errors name the key."""

    def __init__(self, raw: Mapping[str, Any], arch: str, where: Path) -> None:
        self.raw, self.arch, self.where = raw, arch, where

    def _get(self, key: str, default: float | None) -> Any:
        value = self.raw.get(f"{self.arch}.{key}", default)
        if isinstance(value, list) and len(set(value)) == 1:
            value = value[0]  # one number per layer, all the same
        if isinstance(value, bool) or not isinstance(value, int | float):
            problem = "is missing" if value is None else f"= {value!r} is not supported"
            raise BadInput(f"{self.where}: metadata {self.arch}.{key} {problem}")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        return int(self._get(key, default))

    def real(self, key: str, default: float | None = None) -> float:
        return float(str(np.float32(self._get(key, default))))  # 1e-05 and not 9.999999747378752e-06

    def flag(self, key: str) -> bool:
        return bool(self.raw.get(f"{self.arch}.{key}", False))

    def rope_scaling(self) -> RopeScaling | None:
        """Of YaRN what all architectures have; latent attention's temperature is deepseek2's own."""
        kind = self.raw.get(f"{self.arch}.rope.scaling.type", "none")
        factor = self.real("rope.scaling.factor", self.raw.get(f"{self.arch}.rope.scale_linear", 1.0))
        if kind not in SCALINGS:
            known = ", ".join(SCALINGS)
            raise BadInput(
                f"{self.where}: rope scaling {kind!r} is not supported; supported: {known}, Llama 3's"
            )
        if factor == 1.0:
            return None
        if kind != "yarn":
            return RopeScaling("linear", factor)
        return RopeScaling(
            "yarn",
            factor,
            original_max_position_embeddings=self.whole("rope.scaling.original_context_length"),
            beta_fast=self.real("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=self.real("rope.scaling.yarn_beta_slow", 1.0),
        )
