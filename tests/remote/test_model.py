"""An endpoint that fails in every way it can: each sample is there at the end and was paid for once."""

import json
import time
from email.utils import formatdate

import pytest

from shoestring.errors import BadInput, ShoestringError
from shoestring.remote.asked import STOPPED, Answer, Ask, Asked, Sampling
from shoestring.remote.call import Fault, retry_after
from shoestring.remote.endpoint import Endpoint, checked_key, parse_endpoint
from shoestring.remote.model import RemoteModel
from shoestring.remote.spending import Budget
from shoestring.settings import build
from stub_endpoint import KEY, Stub, serving

SAMPLING = Sampling(temperature=0.6, top_p=0.95, max_tokens=100, seed=0)


@pytest.fixture
def stub():
    with serving(Stub()) as running:
        yield running


def asks(prompts: int, samples: int = 2) -> list[Ask]:
    texts = [f"What is {i} + {i + 1}?" for i in range(prompts)]
    return [Ask(({"role": "user", "content": text},), tuple(range(samples))) for text in texts]


class Run:
    """One `ask` with what it took, lost and left."""

    def __init__(
        self, stub: Stub, wanted: list[Ask], stop_after: int = 10**9, full_after: int = 10**9, **changed
    ):
        values = {"url": stub.url, "model": "deepseek-reasoner", "backoff_s": 0.01, "timeout_s": 1.5}
        self.endpoint = build(Endpoint, values | changed, "teacher")
        self.budget = Budget(self.endpoint)
        self.taken: list[Answer] = []
        self.lost: list[tuple[Answer, str]] = []
        self.told: list[str] = []
        self.refused: list[tuple[str, int]] = []
        teacher = RemoteModel(
            self.endpoint,
            KEY,
            self.budget,
            lambda a, fault: self.lost.append((a, fault)),
            self.told.append,
            lambda key, number, why: self.refused.append((key, number)),
        )

        def take(answer: Answer) -> None:
            if len(self.taken) >= full_after:
                raise ShoestringError("the disk is full")
            self.taken.append(answer)

        self.asked = Asked()
        self.error: ShoestringError | None = None
        try:
            self.asked = teacher.ask(wanted, SAMPLING, take, lambda: len(self.taken) >= stop_after)
        except ShoestringError as error:
            self.error = error

    @property
    def names(self) -> list[str]:
        return sorted(f"{a.key}-{a.number}" for a in self.taken)


def names(wanted: list[Ask]) -> list[str]:
    return sorted(f"{ask.key}-{number}" for ask in wanted for number in ask.numbers)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("style", ["reasoning_content", "reasoning", "tags", "close"])
def test_thinking_and_answer_in_every_shape(stub, style, stream):
    stub.style = style
    run = Run(stub, asks(1), stream=stream, price_in=1.0, price_out=2.0)
    first = next(a for a in run.taken if a.number == 1)
    assert (first.reasoning, first.answer) == ("we add 0 + 1 with care, way 1", "1")
    assert (first.finish_reason, first.cut) == ("stop", False)
    assert (first.prompt_tokens, first.completion_tokens) == (20, 50)
    assert first.cost == pytest.approx((20 * 1 + 50 * 2) / 1e6)
    assert run.budget.money == pytest.approx(2 * first.cost)
    assert stub.keys == {f"Bearer {KEY}"}


def test_what_is_sent(stub):
    Run(stub, asks(1, 2), extra_body={"thinking": {"type": "enabled"}})
    first, second = stub.bodies
    assert first["model"] == "deepseek-reasoner"
    assert first["messages"] == [{"role": "user", "content": "What is 0 + 1?"}]
    assert (first["temperature"], first["top_p"], first["max_tokens"]) == (0.6, 0.95, 100)
    assert first["thinking"] == {"type": "enabled"}
    assert first["stream_options"] == {"include_usage": True}
    assert first["seed"] != second["seed"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["429", "429:0.05", "500", "503", "cut", "malformed", "hang", "error200"])
def test_one_fault_at_first_of_each(stub, fault, stream):
    stub.fault = lambda name, attempt: fault if attempt == 1 else None
    wanted = asks(3)
    run = Run(stub, wanted, stream=stream)
    assert run.error is None
    assert run.names == names(wanted)
    assert stub.ledger == dict.fromkeys(names(wanted), 1)
    assert all(count == 2 for count in stub.attempts.values())
    assert run.asked.faults.total() == 6
    assert not run.asked.unanswered
    assert bool(run.lost) == (fault in ("cut", "malformed", "error200") and not (stream and fault != "cut"))


def test_many_faults_one_after_another(stub):
    kinds = ["429:0.02", "cut", "500", "malformed", "hang", None]
    stub.fault = lambda name, attempt: kinds[min(attempt - 1 + int(name[0], 16) % 3, 5)]
    wanted = asks(12, 3)
    run = Run(stub, wanted, concurrency=16)
    assert run.names == names(wanted)
    assert stub.ledger == dict.fromkeys(names(wanted), 1)
    injected = {"HTTP 429", "HTTP 500", "the stream was cut", "malformed JSON", "timed out"}
    assert set(run.asked.faults) <= injected, run.asked.faults
    assert run.asked.faults["timed out"] >= 12


def test_retry_after_is_honoured_by_all(stub):
    refused = []

    def fault(name: str, attempt: int) -> str | None:
        if not refused:
            refused.append(time.monotonic())
            return "429:0.5"
        return None

    stub.fault = fault
    run = Run(stub, asks(4, 1), concurrency=1)
    assert len(run.taken) == 4
    assert [t - refused[0] >= 0.5 for t in stub.times] == [False, True, True, True, True]


def test_retry_after_in_both_forms():
    assert retry_after("2.5") == 2.5
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_a_sample_that_never_comes_is_counted_and_the_rest_goes_on(stub):
    wanted = asks(4, 1)
    stub.fault = lambda name, attempt: "500" if name.startswith(wanted[1].key) else None
    run = Run(stub, wanted, retries=2)
    assert run.names == sorted(set(names(wanted)) - {f"{wanted[1].key}-0"})
    assert run.asked.unanswered == {"HTTP 500": 1}
    assert stub.attempts[f"{wanted[1].key}-0"] == 3


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("401", BadInput, "refuses the key"),
        ("402", BadInput, "no money left"),
        ("404", BadInput, "no such address or model"),
        ("400", ShoestringError, "refuses every prompt, 20 of them"),
        ("500", ShoestringError, "3 samples in a row"),
    ],
)
def test_a_useless_endpoint_ends_it_without_showing_the_key(stub, fault, kind, said):
    stub.fault = lambda name, attempt: fault
    run = Run(stub, asks(60, 1), retries=1)
    assert type(run.error) is kind
    assert said in str(run.error)
    assert "[key]" in str(run.error)  # the endpoint had repeated it
    assert KEY not in str(run.error)
    assert sum(stub.attempts.values()) < 30  # 60 and their retries were to be asked
    assert not run.refused  # of nobody that answers nothing it is known that it minds the prompts


def test_no_server_at_all():
    stub = Stub()
    stub.server.server_close()
    run = Run(stub, asks(3), retries=1)
    assert "no connection (ConnectionRefusedError" in str(run.error)


def test_a_budget_is_never_passed_and_ends_it_cleanly(stub):
    # a reply costs 50e-6; before it is known, 100 tokens out are set aside
    run = Run(stub, asks(20, 2), price_out=1.0, budget_money=0.001, concurrency=3)
    assert run.error is None
    assert run.budget.money <= 0.001
    assert 16 <= len(run.taken) <= 20
    assert "the budget is spent (0.00" in run.asked.ended
    assert stub.ledger.total() == len(run.taken)


def test_a_budget_of_tokens(stub):
    run = Run(stub, asks(20, 2), budget_tokens=1000)
    assert run.budget.tokens == 70 * len(run.taken) <= 1000
    assert "of 1000 tokens" in run.asked.ended
    assert len(run.taken) >= 10


def test_tokens_are_guessed_where_the_endpoint_counts_none(stub):
    stub.usage = False
    run = Run(stub, asks(1, 1))
    assert run.taken[0].completion_tokens == -(-len("we add 0 + 1 with care, way 01") // 4)


def test_stopping_takes_what_is_under_way(stub):
    run = Run(stub, asks(20, 2), stop_after=3, concurrency=4)
    assert run.asked.ended == STOPPED
    assert 3 <= len(run.taken) <= 8
    assert stub.ledger == dict.fromkeys(run.names, 1)


def test_a_disk_that_takes_no_more(stub):
    run = Run(stub, asks(20, 2), full_after=5, concurrency=4)
    assert "the disk is full; " in str(run.error)
    assert "replies that were paid for are lost" in str(run.error)
    assert stub.ledger.total() <= 5 + 1 + 4


def test_never_more_at_once_than_said(stub):
    Run(stub, asks(10, 2), concurrency=3)
    assert stub.most_at_once <= 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "api.deepseek.com"}, "http://"),
        ({"url": "https://user:secret@host/v1"}, "key_env"),
        ({"modle": "x"}, "did you mean 'model'"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_bad_settings(changed, said):
    with pytest.raises(BadInput, match=said):
        build(Endpoint, {"url": "https://host/v1", "model": "m"} | changed, "teacher")


def test_keys_and_short_forms(monkeypatch):
    endpoint = build(Endpoint, {"url": "https://h/v1/", "model": "m", "key_env": "STUB_KEY"}, "teacher")
    assert endpoint.url == "https://h/v1"
    monkeypatch.delenv("STUB_KEY", raising=False)
    with pytest.raises(BadInput, match="STUB_KEY is not set"):
        checked_key(endpoint)
    monkeypatch.setenv("STUB_KEY", f" {KEY}\n")
    assert checked_key(endpoint) == KEY
    monkeypatch.setenv("STUB_KEY", "sk a\nb")
    with pytest.raises(BadInput, match="is not a key"):
        checked_key(endpoint)
    with pytest.raises(BadInput, match="needs price_in"):
        checked_key(build(Endpoint, {"url": "https://h", "model": "m", "budget_money": 1}, "teacher"))
    assert parse_endpoint("https://h/v1#org/m").model == "org/m"
    with pytest.raises(BadInput, match="which of its models"):
        parse_endpoint("https://h/v1")
    assert KEY not in json.dumps(endpoint.model_dump())


def test_what_an_endpoint_says_of_itself_and_of_its_cache(stub):
    stub.cached = 12
    run = Run(stub, asks(1, 1), price_in=1.0, price_cached=0.25, price_out=2.0)
    answer = run.taken[0]
    assert (answer.said_model, answer.fingerprint) == ("deepseek-reasoner", "fp_5417b77867_prod0225")
    assert (answer.cached_tokens, answer.counted) == (12, True)
    assert answer.cost == pytest.approx((8 * 1.0 + 12 * 0.25 + 50 * 2.0) / 1e6)
    assert run.budget.money == pytest.approx(answer.cost)


def test_what_it_refuses_is_not_sent(stub):
    Run(stub, asks(1, 1), omit=["seed", "top_p", "stream_options"])
    assert set(stub.bodies[0]) == {"model", "messages", "temperature", "max_tokens", "stream"}
    with pytest.raises(BadInput, match="omit"):
        build(Endpoint, {"url": "https://h", "model": "m", "omit": ["model"]}, "test")


@pytest.mark.parametrize("concurrency", [1, 8])
def test_refused_prompts_are_left_out_and_the_others_had(stub, concurrency):
    """The first three and more of them, before anything was answered, and some between others."""
    wanted = asks(20, 2)
    bad = [wanted[i].key for i in (0, 1, 2, 3, 9, 10, 11)]
    stub.fault = lambda name, attempt: "400" if name.split("-")[0] in bad else None
    run = Run(stub, wanted, concurrency=concurrency)
    assert run.error is None
    assert len(run.taken) == 2 * 13
    assert {key for key, _ in run.asked.refused} == set(bad)
    assert run.asked.unanswered == {"HTTP 400": 2 * 7}
    assert sorted(run.refused) == sorted(run.asked.refused)


def test_a_stream_that_is_reset_after_its_end_was_had(stub):
    stub.fault = lambda name, attempt: "reset"
    wanted = asks(3, 1)
    run = Run(stub, wanted, retries=2)
    assert (run.names, run.error) == (names(wanted), None)
    assert stub.ledger == dict.fromkeys(names(wanted), 1)  # and none bought again
    assert not run.taken[0].counted
    assert run.budget.tokens == sum(a.prompt_tokens + a.completion_tokens for a in run.taken) > 0


def test_a_long_wait_is_told_and_a_very_long_one_ends_it_with_what_there_is(stub):
    stub.fault = lambda name, attempt: "429:86400" if attempt == 1 and stub.ledger.total() >= 2 else None
    run = Run(stub, asks(8, 1), concurrency=1)
    assert len(run.taken) == 2
    assert "HTTP 429, it asks to wait 1,440 minutes" in str(run.error)
    assert (fault := Fault("", True, 429, 12.4)).asks_to_wait == "HTTP 429, it asks to wait 12 s"
    assert not fault.asks_too_long
    assert not Fault("", True, 503, 0.5).asks_to_wait


def test_a_wait_is_said_once(stub, monkeypatch):
    monkeypatch.setattr("shoestring.remote.call.TOLD_WAIT_S", 0.1)
    stub.fault = lambda name, attempt: "429:0.3" if attempt == 1 else None
    run = Run(stub, asks(4, 1), concurrency=4)
    assert len(run.taken) == 4
    assert 1 <= len(run.told) <= 2
    assert f"endpoint {stub.url}: HTTP 429, it asks to wait 0 s" in run.told
