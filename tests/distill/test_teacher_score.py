"""Logprobs of given text over HTTP, in three servers' shapes; wrong shapes are refused in one line."""

import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from shoestring.distill.teacher_score import HttpScorer
from shoestring.errors import BadInput
from shoestring.remote.endpoint import Endpoint
from shoestring.remote.turns import NoAnswer, Spent, Turns
from shoestring.settings import build
from stub_endpoint import KEY, Stub, serving

IDS = [5, 7, 2, 9]
SAID: list[str] = []


def logprob(before: list[int], token: int) -> float:
    """Any function of the text before."""
    return -((sum(before) * 31 + token * 7) % 50) / 10


TRUE = [logprob(IDS[:i], IDS[i]) for i in range(1, 4)]


def vllm(path: str, body: dict[str, Any]) -> Any:
    assert (path, body["max_tokens"]) == ("/v1/completions", 1)
    ids = body["prompt"]
    entries: list[Any] = [None]
    for i in range(1, len(ids)):
        tokens = {ids[i], *range(body["prompt_logprobs"])}
        entries.append(
            {str(t): {"logprob": logprob(ids[:i], t), "rank": 1, "decoded_token": "?"} for t in tokens}
        )
    return {"choices": [{"text": "x", "prompt_logprobs": entries}]}


def echo(path: str, body: dict[str, Any]) -> Any:
    assert body["echo"] is True
    ids = body["prompt"]
    own = [None, *(logprob(ids[:i], ids[i]) for i in range(1, len(ids))), -0.5]
    top = [None, *({f"token_id:{t}": logprob(ids[:i], t) for t in (1, 2)} for i in range(1, len(ids))), {}]
    tokens = ["?"] * (len(ids) + 1)
    return {"choices": [{"logprobs": {"tokens": tokens, "token_logprobs": own, "top_logprobs": top}}]}


def llama(path: str, body: dict[str, Any]) -> Any:
    assert (path, body["n_predict"], body["n_probs"]) == ("/completion", 1, 8)
    listed = [{"id": t, "token": "?", "bytes": [63], "logprob": logprob(body["prompt"], t)} for t in range(8)]
    return {"content": "?", "completion_probabilities": [{"id": 1, "logprob": -1.0, "top_logprobs": listed}]}


@pytest.fixture
def stub():
    with serving(Stub()) as running:
        yield running


@pytest.fixture
def scorer(stub, tmp_path):
    def made(kind, top: int = 0, stop: Callable[[], bool] = lambda: False, **changed) -> HttpScorer:
        values = {"url": stub.url, "model": "m", "retries": 1, "backoff_s": 0.01, "timeout_s": 1.5}
        endpoint = build(Endpoint, values | changed, "teacher")
        turns = Turns(endpoint, tmp_path / "spent.jsonl", SAID.append, stop)
        return HttpScorer(endpoint, KEY, kind, turns, top)

    SAID.clear()
    return made


def test_vllms(stub, scorer):
    stub.score = vllm
    scores = scorer("vllm").score(IDS)
    assert scores.logprobs == pytest.approx(TRUE)
    assert scores.top == [{}, {}, {}]
    wide = scorer("vllm", 3).score(IDS, start=2)
    assert wide.logprobs == pytest.approx(TRUE[1:])
    assert wide.top[0] == pytest.approx({t: logprob(IDS[:2], t) for t in (0, 1, 2)})


def test_echo(stub, scorer):
    stub.score = echo
    scores = scorer("echo", 2).score(IDS)
    assert scores.logprobs == pytest.approx(TRUE)
    assert scores.top[2] == pytest.approx({t: logprob(IDS[:3], t) for t in (1, 2)})


def test_llama_cpp_is_asked_token_by_token(stub, scorer):
    stub.score = llama
    scores = scorer("llama.cpp", 8).score(IDS)
    assert scores.logprobs[:2] == pytest.approx(TRUE[:2])
    assert scores.logprobs[2] is None  # token 9 is outside its top 8
    assert [body["prompt"] for body in stub.bodies] == [IDS[:1], IDS[:2], IDS[:3]]
    with pytest.raises(BadInput, match="set top"):
        scorer("llama.cpp")


def test_many_at_once_in_their_order(stub, scorer):
    stub.score = vllm
    texts = [([i, i + 1, i + 2], 1) for i in range(20)]
    many = scorer("vllm").score_all(texts)
    for (ids, _), scores in zip(texts, many, strict=True):
        assert scores.logprobs == pytest.approx([logprob(ids[:1], ids[1]), logprob(ids[:2], ids[2])])


def one(entry: Any) -> Any:
    return {"choices": [{"prompt_logprobs": [None, entry, entry, entry]}]}


WRONG = [
    ("vllm", [], "not a JSON object"),
    ("vllm", {"choices": []}, "not one choice"),
    ("vllm", {"choices": [{"text": "x"}]}, "no prompt_logprobs"),
    ("vllm", {"choices": [{"prompt_logprobs": [None, {}]}]}, "of 2 tokens for a prompt of 4"),
    ("vllm", one({"7": -1.0}), "is not tokens with logprobs"),
    ("vllm", one({"7": {"logprob": None}}), "None is not a log-probability"),
    ("vllm", one({"7": {"logprob": 0.5}}), "0.5 is not a log-probability"),
    ("vllm", one({"7": {"logprob": math.nan}}), "nan is not a log-probability"),
    ("vllm", one({"the": {"logprob": -1.0}}), "'the' is not a token's id"),
    ("vllm", one({"8": {"logprob": -1.0}}), "lacks the prompt's own token 7"),
    ("echo", {"choices": [{"logprobs": None}]}, "doesn't echo the prompt's"),
    ("echo", {"choices": [{"logprobs": {"token_logprobs": [-1.0]}}]}, "of 1 tokens for a prompt of 4"),
    ("echo", {"choices": [{"logprobs": {"token_logprobs": [None, -1, "x", -1]}}]}, "'x' is not a log"),
    ("llama.cpp", {"content": "x"}, "not those of one token"),
    ("llama.cpp", {"completion_probabilities": [{"top_probs": []}]}, "no top_logprobs"),
]


@pytest.mark.parametrize(("kind", "reply", "said"), WRONG)
def test_wrong_shapes(stub, scorer, kind, reply, said):
    stub.score = lambda path, body: reply
    with pytest.raises(BadInput) as told:
        scorer(kind, 8).score(IDS)
    text = str(told.value)
    assert said in text
    assert "\n" not in text
    assert f"as {kind} does" in text


def test_an_endpoint_that_does_not_answer(stub, scorer):
    stub.server.shutdown()
    stub.server.server_close()
    with pytest.raises(NoAnswer, match="no logprobs: no connection"):
        scorer("vllm").score(IDS)
    assert KEY not in json.dumps(stub.bodies)


FAULTS = ["429", "429:0.05", "500", "503", "cut", "malformed", "hang"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_changes_nothing(stub, scorer, fault):
    stub.score = vllm
    stub.score_fault = lambda number: fault if number <= 2 else None
    texts = [(IDS, 1)] * 4
    many = scorer("vllm", retries=3, timeout_s=0.5).score_all(texts)
    assert [scores.logprobs for scores in many] == [pytest.approx(TRUE)] * 4
    assert len(stub.bodies) == 6


def test_what_is_added_and_left_out(stub, scorer):
    stub.score = vllm
    scorer("vllm", extra_body={"add_special_tokens": False}, omit=("temperature",)).score(IDS)
    assert stub.bodies[0]["add_special_tokens"] is False
    assert "temperature" not in stub.bodies[0]


def test_a_budget_is_never_passed_also_after_a_restart(stub, scorer):
    stub.score = vllm
    limit = {"budget_tokens": 5 * (len(IDS) + 1), "concurrency": 4}
    with pytest.raises(Spent, match=r"budget is spent .25 of 25 tokens"):
        scorer("vllm", **limit).score_all([(IDS, 1)] * 8)
    assert len(stub.bodies) == 5
    with pytest.raises(Spent):
        scorer("vllm", **limit).score(IDS)
    assert len(stub.bodies) == 5
    money = {"budget_money": 5 * 5e-6 + 1e-3, "price_in": 1.0, "price_out": 1.0}
    usage = {"prompt_tokens": 900, "completion_tokens": 1}
    stub.score = lambda path, body: vllm(path, body) | {"usage": usage}
    again = scorer("vllm", **money)
    again.score(IDS)
    assert again.turns.budget.money == pytest.approx(901e-6)  # what came before had no price
    for _ in range(30):
        if not again.turns.budget.fits(4, 1):
            break
        again.score(IDS)
    with pytest.raises(Spent, match="in money"):
        again.score(IDS)


def test_requests_a_minute_are_waited_for_and_a_wait_hears_a_stop(stub, scorer):
    stub.score = vllm
    began = time.monotonic()
    slow = scorer("vllm", stop=lambda: time.monotonic() - began > 0.5, requests_per_minute=2)
    slow.score(IDS)
    slow.score(IDS)
    with pytest.raises(NoAnswer, match="stopped while waiting"):
        slow.score(IDS)
    assert time.monotonic() - began < 5
    assert len(stub.bodies) == 2


def test_a_long_wait_is_not_slept_out(stub, scorer):
    stub.score = vllm
    stub.score_fault = lambda number: "429:86400"
    with pytest.raises(NoAnswer, match="HTTP 429, it asks to wait 1,440 minutes: come back then"):
        scorer("vllm").score(IDS)
    stub.score_fault = lambda number: "503:60"
    began = time.monotonic()
    with pytest.raises(NoAnswer, match="stopped while waiting"):
        scorer("vllm", stop=lambda: time.monotonic() - began > 0.3).score(IDS)
    (line,) = SAID
    assert line == f"endpoint {stub.url}: HTTP 503, it asks to wait 60 s"
