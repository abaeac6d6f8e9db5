"""The settings of an evaluation, and how each of its units is asked."""

from pydantic import Field, JsonValue, model_validator

from shoestring.evals.result import Asking, FewShotStyle
from shoestring.settings import Settings
from shoestring.tasks.tools import ToolName


class Variant(Settings):
    """A way of asking that differs from the stage's own in what is named here."""

    name: str
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    few_shot: int = Field(0, ge=0)
    few_shot_style: FewShotStyle = "answer"
    lenient: bool = False
    system: str | None = None


class EvaluateSettings(Settings):
    """Models named in `best_of` are asked in every variant and shown at their best: a base gets its due."""

    models: dict[str, str] = Field(min_length=1)  # label -> MODEL
    servers: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)  # by label, an Endpoint's settings
    suites: list[str] = Field(default_factory=list)  # may be empty where a check is made
    n: int = Field(256, ge=1)
    k: int = Field(1, ge=1)
    seed: int = 0
    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(256, ge=1)
    few_shot: int = Field(0, ge=0)
    few_shot_style: FewShotStyle = "answer"
    lenient: bool = False
    system: str | None = None
    tools: tuple[ToolName, ...] = ()  # that replies may call
    max_tool_calls: int = Field(4, ge=1)
    best_of: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    chat_check: bool = False
    chat_max_tokens: int = Field(192, ge=1)
    identity_check: bool = False  # who it says it is, in 200 ways of asking
    identity_max_tokens: int = Field(64, ge=1)
    confidence: bool = False  # ask after each answer how sure the model is of it
    workers: int = Field(2, ge=1)  # judge processes
    device: str = "cpu"
    dtype: str = "auto"

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

    def asking(self, variant: Variant | None) -> Asking:
        if variant is None:
            return Asking(
                self.max_tokens,
                self.temperature,
                self.few_shot,
                self.few_shot_style,
                self.lenient,
                self.system,
                self.tools,
                self.max_tool_calls,
            )
        return Asking(
            variant.max_tokens or self.max_tokens,
            self.temperature if variant.temperature is None else variant.temperature,
            variant.few_shot,
            variant.few_shot_style,
            variant.lenient,
            variant.system,
            self.tools,
            self.max_tool_calls,
        )
