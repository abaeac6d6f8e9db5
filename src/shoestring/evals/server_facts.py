"""What an evaluation over HTTP knows of the model it asked, and what nobody told it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shoestring.remote.asked import Answer
from shoestring.remote.endpoint import Endpoint

UNTOLD = ("weights_sha256", "template_sha256", "prompt_ids_sha256", "dtype", "engine")


@dataclass(frozen=True)
class ServerFacts:
    """said_models, fingerprints: all that its replies named. guessed: replies whose tokens were guessed, for
    the endpoint gave no usage. kept: replies that an earlier start had. Tokens and money are of all replies,
    however often the eval was started; lost ones (attempts that may be charged and gave nothing), faults and
    refused (prompts that it wouldn't take) are this start's."""

    url: str
    model: str
    said_models: tuple[str, ...]
    fingerprints: tuple[str, ...]
    finish_reasons: Mapping[str, int]
    faults: Mapping[str, int]
    refused: int
    guessed: int
    kept: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    lost_tokens: int
    money: float
    lost_money: float
    prices: str  # in words; "" where none are stated

    def to_json(self) -> dict[str, Any]:
        """With what a server doesn't tell, as null."""
        untold = dict.fromkeys(UNTOLD)
        lists = {"said_models": list(self.said_models), "fingerprints": list(self.fingerprints)}
        return {**asdict(self), **lists, **untold}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "ServerFacts":
        """From its `to_json`."""
        told = {name: value for name, value in raw.items() if name not in UNTOLD}
        lists = {name: tuple(raw[name]) for name in ("said_models", "fingerprints")}
        return cls(**{**told, **lists})

    def lines(self) -> list[str]:
        """What a reader of the score has to know of the server; faults are said where there were any."""
        named = "" if self.said_models in ((), (self.model,)) else f", which calls it {self._names()}"
        told = [
            f"server: {self.model} at {self.url}{named}; it tells neither its weights' hash, its template, "
            "its precision nor its engine"
        ]
        if len(self.fingerprints) > 1:
            told.append(
                f"its system_fingerprint changed while it was asked ({len(self.fingerprints)} of them)"
            )
        if len(self.said_models) > 1:
            told.append(f"its replies name {len(self.said_models)} models")
        if self.faults:
            told.append("faults: " + ", ".join(f"{name} {count}" for name, count in self.faults.items()))
        other = {name: n for name, n in self.finish_reasons.items() if name not in ("stop", "length")}
        if other:
            told.append("ended by " + ", ".join(f"{name} {count}" for name, count in other.items()))
        if self.refused:
            told.append(f"{self.refused} prompts that it refused, counted as not right")
        if self.guessed:
            told.append(f"tokens of {self.guessed} replies guessed from their characters: it gave no usage")
        if self.kept:
            told.append(f"{self.kept} replies kept from an earlier start")
        return told

    def _names(self) -> str:
        return " and ".join(repr(name) for name in self.said_models)


def facts_of(
    endpoint: Endpoint,
    answers: Sequence[Answer],
    faults: Mapping[str, int],
    kept: int,
    refused: int,
    lost: Sequence[Answer],
) -> ServerFacts:
    return ServerFacts(
        url=endpoint.url,
        model=endpoint.model,
        said_models=tuple(sorted({a.said_model for a in answers} - {""})),
        fingerprints=tuple(sorted({a.fingerprint for a in answers} - {""})),
        finish_reasons=dict(Counter(a.finish_reason for a in answers)),
        faults=dict(faults),
        refused=refused,
        guessed=sum(not a.counted for a in answers),
        kept=kept,
        prompt_tokens=sum(a.prompt_tokens for a in answers),
        cached_tokens=sum(a.cached_tokens for a in answers),
        completion_tokens=sum(a.completion_tokens for a in answers),
        lost_tokens=sum(a.completion_tokens for a in lost),
        money=sum(a.cost for a in answers),
        lost_money=sum(a.cost for a in lost),
        prices=stated_prices(endpoint),
    )


def stated_prices(endpoint: Endpoint) -> str:
    if not endpoint.priced:
        return ""
    cached = endpoint.price_in if endpoint.price_cached is None else endpoint.price_cached
    told = f"{endpoint.price_in:g} in, {cached:g} cached, {endpoint.price_out:g} out"
    return f"stated prices a million tokens: {told}"
