"""The settings of an evaluation, and how each of its units is asked."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field, JsonValue, model_validator

from shoestring.budget.price import Prices
from shoestring.errors import BadInput
from shoestring.evals.power import n_for_effect
from shoestring.evals.protocol import PROTOCOLS, ProtocolName
from shoestring.evals.result import Asking, FewShotStyle
from shoestring.lm import Quantize
from shoestring.settings import Settings
from shoestring.tasks.suite import Suite
from shoestring.tasks.tools import ToolName

PROBLEMS = 256  # where neither a number nor an effect is named: shows a difference of 12.7 points


class Variant(Settings):
    """A way of asking that differs from the stage's own in what is named here."""

    name: str
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    few_shot: int = Field(0, ge=0)
    few_shot_style: FewShotStyle = "answer"
    lenient: bool = False
    system: str | None = None


class EvaluateSettings(Settings):
    """Models named in `best_of` are asked in every variant and shown at their best: a base gets its due.
    protocol: a published way of asking, whose settings stand where none are given here. against: files and
    folders of what was trained on, to look for the problems in."""

    models: dict[str, str] = Field(min_length=1)  # label -> MODEL
    servers: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)  # by label, an Endpoint's settings
    suites: list[str] = Field(default_factory=list)  # may be empty where a check is made
    n: int | None = Field(None, ge=1)  # none: by the effect, or all of a file, or PROBLEMS
    effect: float | None = Field(None, gt=0, lt=100)  # points between two models that are to be shown
    k: int | None = Field(None, ge=1)  # none: the protocol's, or 1
    protocol: ProtocolName = ""
    seed: int = 0
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(256, ge=1)
    few_shot: int = Field(0, ge=0)
    few_shot_style: FewShotStyle = "answer"
    lenient: bool = False
    system: str | None = None
    tools: tuple[ToolName, ...] = ()  # that replies may call
    max_tool_calls: int = Field(4, ge=1)
    against: tuple[str, ...] = ()
    best_of: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    chat_check: bool = False
    chat_max_tokens: int = Field(192, ge=1)
    identity_check: bool = False  # who it says it is, in 200 ways of asking
    identity_max_tokens: int = Field(64, ge=1)
    confidence: bool = False  # ask after each answer how sure the model is of it
    prices: Prices = Prices()  # this machine's, for what a right answer takes
    workers: int = Field(2, ge=1)  # judge processes
    device: str = "cpu"
    dtype: str = "auto"
    quantize: Quantize | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_the_protocol_asks(cls, values: Any) -> Any:
        protocol = PROTOCOLS.get(str(values.get("protocol"))) if isinstance(values, Mapping) else None
        if protocol is None:
            return values
        own = {"temperature": protocol.temperature, "top_p": protocol.top_p}
        return {**own, "max_tokens": protocol.max_tokens, **values}

    @model_validator(mode="after")
    def _something_asked(self) -> "EvaluateSettings":
        if not (self.suites or self.chat_check or self.identity_check):
            raise ValueError("suites: name one, or set chat_check or identity_check")
        return self

    @model_validator(mode="after")
    def _known_labels(self) -> "EvaluateSettings":
        for setting, labels in (("best_of", self.best_of), ("servers", self.servers)):
            strangers = [label for label in labels if label not in self.models]
            if strangers:
                known = ", ".join(self.models)
                raise ValueError(f"{setting} names {strangers[0]!r}, which is not a label in models: {known}")
        if bool(self.best_of) != bool(self.variants):
            raise ValueError("best_of and variants go together: which models to ask in which ways")
        names = ["", *(v.name for v in self.variants)]
        if len(set(names)) < len(names):
            raise ValueError("every variant needs a name of its own")
        return self

    def num_problems(self, suite: Suite) -> int:
        """Raises BadInput where the suite's file can't be read."""
        if self.n is not None:
            return self.n
        wanted = PROBLEMS if self.effect is None else _enough(self.effect)
        there = suite.num_tested
        if there is None:
            return wanted
        return there if suite.only_tests and self.effect is None else min(wanted, there)

    def num_samples(self, suite: Suite) -> int:
        if self.k is not None:
            return self.k
        return PROTOCOLS[self.protocol].k(str(suite)) if self.protocol else 1

    def asking(self, variant: Variant | None) -> Asking:
        plain = Asking(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            few_shot=self.few_shot,
            few_shot_style=self.few_shot_style,
            lenient=self.lenient,
            system=self.system,
            tools=self.tools,
            max_tool_calls=self.max_tool_calls,
            top_p=self.top_p,
            protocol=self.protocol,
        )
        if variant is None:
            return plain
        return replace(
            plain,
            max_tokens=variant.max_tokens or self.max_tokens,
            temperature=self.temperature if variant.temperature is None else variant.temperature,
            top_p=self.top_p if variant.top_p is None else variant.top_p,
            few_shot=variant.few_shot,
            few_shot_style=variant.few_shot_style,
            lenient=variant.lenient,
            system=variant.system,
        )


def _enough(effect: float) -> int:
    try:
        return n_for_effect(effect / 100)
    except ValueError as why:
        raise BadInput(f"effect = {effect:g} points: {why}") from None
