"""A model without its weights: what is sent once to a process that is handed the weights apart."""

from dataclasses import dataclass

import torch

from shoestring.lm import LanguageModel
from shoestring.models.config import ModelConfig
from shoestring.models.numerics import use_fp8, uses_fp8
from shoestring.models.weights import empty_network
from shoestring.origin import Lineage
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Skeleton:
    """The template is sent as its text: once it has been used, what Jinja made of it can't be sent."""

    config: ModelConfig
    tokenizer: Tokenizer
    template: str | None
    stop_ids: tuple[int, ...]
    lineage: Lineage
    name: str
    dtype: str
    fp8: bool

    @classmethod
    def of(cls, lm: LanguageModel) -> "Skeleton":
        lm.refuse_quantized("send out")
        template = lm.template.source, tuple(lm.template.stop_ids)
        dtype = str(lm.dtype).removeprefix("torch.")
        return cls(lm.config, lm.tokenizer, *template, lm.lineage, lm.name, dtype, uses_fp8(lm.network))

    def model(self, device: str) -> LanguageModel:
        """Its weights are whatever lay in memory until some are loaded."""
        network = empty_network(self.config, getattr(torch, self.dtype), device)
        use_fp8(network, self.fp8)
        template = Template(self.tokenizer, self.template, self.stop_ids)
        return LanguageModel(network, self.tokenizer, template, self.config, self.lineage, self.name)
