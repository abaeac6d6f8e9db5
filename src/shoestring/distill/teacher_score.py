"""Log-probabilities of given text from a teacher behind an endpoint, to train a student on its own samples.
The text goes as token ids, so teacher and student must have one vocabulary.

vllm       /completions with prompt_logprobs
echo       /completions with echo and logprobs, as OpenAI's were and several servers still are
llama.cpp  /completion once a token (it has no logprobs of a prompt; its cache makes each request short); a
           token outside the `top` likeliest has none
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from shoestring.errors import BadInput
from shoestring.remote.call import Caller, Fault, pause_s
from shoestring.remote.endpoint import Endpoint
from shoestring.remote.read import counted
from shoestring.remote.turns import NoAnswer, Turns

Kind = Literal["vllm", "echo", "llama.cpp"]
ROUNDING = 1e-4  # how far over 0 a log-probability may be
TOKEN_ID = "token_id:"  # vLLM's way to write an id where a token's text is wanted


@dataclass(frozen=True)
class Scores:
    """logprobs[i] is of token `start` + i after all before it, None where the endpoint didn't say (llama.cpp,
    outside its top). top[i]: the likeliest ids there with theirs, as far as asked for and given."""

    logprobs: list[float | None]
    top: list[dict[int, float]]


class HttpScorer:
    """`top`: how many of the likeliest tokens to ask for at each place. `turns`: the endpoint's budget and
    limits."""

    def __init__(self, endpoint: Endpoint, key: str, kind: Kind, turns: Turns, top: int = 0) -> None:
        if kind == "llama.cpp" and top < 1:
            raise BadInput(
                "teacher: llama.cpp gives a token's logprob only among its likeliest: set top, e.g. 100"
            )
        self.endpoint, self.kind, self.turns, self.top = endpoint, kind, turns, top
        root = {"url": endpoint.url.removesuffix("/v1")} if kind == "llama.cpp" else {}
        self.caller = Caller(endpoint.model_copy(update=root), key)

    def score_all(self, texts: Sequence[tuple[Sequence[int], int]]) -> list[Scores]:
        """Of each (ids, start), several at once. Raises BadInput for an endpoint that doesn't answer in the
        shape of its kind, NoAnswer where it doesn't answer or mayn't be asked."""
        with ThreadPoolExecutor(self.endpoint.concurrency) as threads:
            return list(threads.map(lambda text: self.score(*text), texts))

    def score(self, ids: Sequence[int], start: int = 1) -> Scores:
        """The logprobs of ids[start:]. start is at least 1: nothing comes before the first."""
        assert 1 <= start < len(ids), (start, len(ids))
        if self.kind == "llama.cpp":
            places = [self._after(ids[:i], ids[i]) for i in range(start, len(ids))]
        elif self.kind == "vllm":
            places = self._prompt_logprobs(ids)[start:]
        else:
            places = self._echoed(ids)[start:]
        return Scores([own for own, _ in places], [top for _, top in places])

    def _prompt_logprobs(self, ids: Sequence[int]) -> list[tuple[float | None, dict[int, float]]]:
        body = {"prompt": list(ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": self.top}
        given = self._choice(self._ask("/completions", body)).get("prompt_logprobs")
        entries = self._as_long(given, ids, "prompt_logprobs")
        places: list[tuple[float | None, dict[int, float]]] = [(None, {})]
        for i, entry in enumerate(entries[1:], start=1):
            if not isinstance(entry, dict) or not all(isinstance(v, dict) for v in entry.values()):
                raise self._refuse(f"prompt_logprobs[{i}] is not tokens with logprobs")
            top = {self._id(key): self._number(v.get("logprob"), i) for key, v in entry.items()}
            if ids[i] not in top:
                raise self._refuse(f"prompt_logprobs[{i}] lacks the prompt's own token {ids[i]}")
            places.append((top[ids[i]], top if self.top else {}))
        return places

    def _echoed(self, ids: Sequence[int]) -> list[tuple[float | None, dict[int, float]]]:
        body = {"prompt": list(ids), "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": self.top}
        logprobs = self._choice(self._ask("/completions", body)).get("logprobs")
        if not isinstance(logprobs, dict):
            raise self._refuse("no logprobs, so it doesn't echo the prompt's (llama.cpp doesn't)")
        own = logprobs.get("token_logprobs")
        if isinstance(own, list) and len(own) == len(ids) + 1:  # and of the one token that was made
            own = own[:-1]
        own = self._as_long(own, ids, "token_logprobs")
        tops = logprobs.get("top_logprobs")
        places: list[tuple[float | None, dict[int, float]]] = [(None, {})]
        for i in range(1, len(ids)):
            given = tops[i] if isinstance(tops, list) and i < len(tops) else None
            named = given.items() if isinstance(given, dict) else ()
            top = {self._id(k): self._number(v, i) for k, v in named if k.startswith(TOKEN_ID)}
            places.append((self._number(own[i], i), top))
        return places

    def _after(self, before: Sequence[int], token: int) -> tuple[float | None, dict[int, float]]:
        body = {"prompt": list(before), "n_predict": 1, "n_probs": self.top, "cache_prompt": True}
        reply = self._ask("/completion", body | {"temperature": 1.0})
        made = reply.get("completion_probabilities")
        if not isinstance(made, list) or len(made) != 1 or not isinstance(made[0], dict):
            raise self._refuse("completion_probabilities is not those of one token")
        listed = made[0].get("top_logprobs")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise self._refuse("no top_logprobs (its probabilities must not be asked for after sampling)")
        top = {self._id(one.get("id")): self._number(one.get("logprob"), len(before)) for one in listed}
        return top.get(token), top

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        asked = {"model": self.endpoint.model, **body}
        asked = {name: value for name, value in asked.items() if name not in self.endpoint.omit}
        attempt = 0
        while isinstance(came := self._post(path, asked | self.endpoint.extra_body), Fault):
            if not came.again or attempt == self.endpoint.retries:
                raise NoAnswer(f"teacher {self.endpoint.url}: no logprobs: {came.text}")
            self.turns.pause(came, pause_s(self.endpoint, attempt))
            attempt += 1
        if not isinstance(came, dict):
            raise self._refuse("not a JSON object")
        return came

    def _post(self, path: str, body: dict[str, Any]) -> Any | Fault:
        """In its turn; of a reply without usage the tokens are those that were sent, and the one made."""
        sent = len(body["prompt"])
        request = self.turns.begin(sent, 1)
        came = self.caller.post(path, body)
        if isinstance(came, Fault):
            self.turns.end(request, 0, 0)
        else:
            self.turns.end(request, *counted(came, sent, 1))
        return came

    def _choice(self, reply: dict[str, Any]) -> dict[str, Any]:
        choices = reply.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise self._refuse("not one choice")
        return choices[0]

    def _as_long(self, given: Any, ids: Sequence[int], name: str) -> list[Any]:
        if not isinstance(given, list):
            raise self._refuse(f"no {name}")
        if len(given) != len(ids):
            raise self._refuse(f"{name} of {len(given)} tokens for a prompt of {len(ids)}")
        return given

    def _id(self, key: Any) -> int:
        try:
            return int(str(key).removeprefix(TOKEN_ID))
        except ValueError:
            raise self._refuse(f"{key!r} is not a token's id") from None

    def _number(self, value: Any, place: int) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or math.isnan(value) or value > ROUNDING:
            raise self._refuse(f"at token {place}, {value!r} is not a log-probability")
        return min(float(value), 0.0)

    def _refuse(self, what: str) -> BadInput:
        return BadInput(
            f"teacher {self.endpoint.url} doesn't give logprobs of a prompt as {self.kind} does: {what}"
        )
