"""The settings of a model behind an OpenAI-compatible endpoint, and its key."""

import os
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator

from shoestring.errors import BadInput
from shoestring.settings import Settings


class Endpoint(Settings):
    """`url` ends before /chat/completions, as in https://api.deepseek.com/v1. Prices are USD for a million
    tokens, so that the bill adds up; 0 is no limit. `extra_body` is added to every request, e.g. what
    switches thinking on; `omit` names what isn't sent, for endpoints that refuse it, e.g. "seed"."""

    url: str
    model: str = Field(min_length=1)
    key_env: str = ""  # the environment variable that holds the key; the key itself is in no file
    stream: bool = True
    price_in: float = Field(default=0.0, ge=0)
    price_cached: float | None = Field(default=None, ge=0)  # of what its cache held of a prompt; as price_in
    price_out: float = Field(default=0.0, ge=0)
    budget_money: float = Field(default=0.0, ge=0)
    budget_tokens: int = Field(default=0, ge=0)  # in and out
    requests_per_minute: int = Field(default=0, ge=0)
    tokens_per_minute: int = Field(default=0, ge=0)
    concurrency: int = Field(default=8, ge=1, le=256)
    timeout_s: float = Field(default=120.0, gt=0)  # of silence
    deadline_s: float = Field(default=1800.0, gt=0)  # of one reply, however it trickles in
    retries: int = Field(default=6, ge=0)
    backoff_s: float = Field(default=1.0, gt=0)  # the first pause, doubled with each retry up to a minute
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    omit: tuple[Literal["seed", "temperature", "top_p", "max_tokens", "stream_options"], ...] = ()

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an endpoint's address begins with http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("no user, password, ? or # in an address: a key is named by key_env")
        return url.rstrip("/").removesuffix("/chat/completions")

    @property
    def priced(self) -> bool:
        return bool(self.price_in or self.price_out or self.price_cached)


class ScoringEndpoint(Endpoint):
    """One that says how likely given text is. `tokenizer`: a MODEL that has the teacher's, for an endpoint
    doesn't tell. `top`: see HttpScorer."""

    kind: Literal["vllm", "echo", "llama.cpp"] = "vllm"
    top: int = Field(default=0, ge=0)
    tokenizer: str = Field(min_length=1)
    licence: str = ""  # of its model


def parse_endpoint(text: str) -> Endpoint:
    """`https://host/v1#model`. Raises BadInput."""
    url, _, model = text.partition("#")
    if not model:
        raise BadInput(f"endpoint {url}: write which of its models you mean, as in {url}#NAME")
    try:
        return Endpoint(url=url, model=model)
    except ValueError:
        raise BadInput(f"endpoint {url}: not an endpoint's address; write https://host/v1#NAME") from None


def checked_key(endpoint: Endpoint) -> str:
    """The key, "" where none is needed. Raises BadInput where its variable isn't set, or a budget in money
    has no prices."""
    if endpoint.budget_money and not endpoint.priced:
        raise BadInput("endpoint: a budget in money needs price_in and price_out, per million tokens")
    if not endpoint.key_env:
        return ""
    key = os.environ.get(endpoint.key_env, "").strip()
    if not key:
        raise BadInput(f"endpoint: the environment variable {endpoint.key_env} is not set; put the key there")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadInput(f"endpoint: what {endpoint.key_env} holds is not a key: it has spaces or signs in it")
    return key
