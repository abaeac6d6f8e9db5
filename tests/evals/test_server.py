"""A model behind an endpoint scores as the same model here does; faults cost no reply and no money twice."""

import json
import re
import threading

import pytest

from scripted_engine import ScriptedEngine, house_of
from scripted_engine import serving as really_serving
from shoestring.engine.engine import Engine
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.evals.evaluate import evaluate
from shoestring.evals.receipt import Receipt
from shoestring.evals.result import Asking
from shoestring.evals.server import Server, mark_server
from shoestring.jobs.evaluate_server import endpoint_of, evaluate_server
from shoestring.run import Stage
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from stub_endpoint import KEY, Stub, serving
from tiny import Scripted, tiny_lm

SUITE = parse_suite("sums:max_digits=2,max_terms=3")
FAST = {"backoff_s": 0.01, "timeout_s": 2.0}


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


@pytest.fixture
def stub():
    with serving(Stub()) as running:
        yield running


def total(prompt: str) -> int:
    """Of the last question in a prompt."""
    return sum(int(n) for n in re.findall(r"\d+", prompt.rsplit("What is", 1)[1].split("?")[0]))


def server(stub: Stub, folder, **settings) -> Server:
    return Server(endpoint_of(f"{stub.url}#deepseek-reasoner", {**FAST, **settings}, "test"), folder)


def scored(asked: Server, judge, n=6, k=1, stage=None, **asking):
    replies = asked.ask(SUITE, n, k, 0, Asking(**asking), stage)
    return mark_server(replies, False, judge)


def test_score_facts_and_what_it_does_not_say(stub, judge, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    result = scored(server(stub, tmp_path, key_env="STUB_KEY"), judge, n=8)
    assert (result.correct, result.score, result.truncated) == (8, 1.0, 0)
    assert [(i.prompt_tokens, i.tokens, i.finish_reason) for i in result.items] == [(20, 50, "stop")] * 8
    assert result.shape.format == 1
    told = result.to_json()["server"]
    assert told["said_models"] == ["deepseek-reasoner"]
    assert (told["weights_sha256"], told["template_sha256"], told["engine"]) == (None, None, None)
    assert (told["prompt_tokens"], told["completion_tokens"], told["guessed"]) == (160, 400, 0)
    assert any("neither its weights' hash" in line for line in result.notes())
    assert result.receipt is not None
    assert (result.receipt.made.weights, result.receipt.tokens, result.receipt.prompts) == (None, None, None)
    assert Receipt.of(result.receipt.to_json()) == result.receipt
    assert stub.keys == {f"Bearer {KEY}"}
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json*"))
    assert KEY not in kept + json.dumps(result.to_json())


@pytest.mark.parametrize("style", ["reasoning", "tags", "close"])
def test_thinking_in_every_shape_is_no_answer(stub, judge, tmp_path, style) -> None:
    """The thinking names the right sum and the answer another one."""
    stub.style = style
    stub.say = lambda prompt, number: (f"so it is {total(prompt)}", "7000")
    result = scored(server(stub, tmp_path), judge, n=3)
    assert result.outcomes["wrong"] == 3
    assert all(item.reply.startswith("<think>\nso it is") for item in result.items)


@pytest.mark.parametrize("stream", [True, False])
def test_faults_are_made_good_and_counted(stub, judge, tmp_path, stream) -> None:
    kinds = ["429:0.02", "500", "cut", "malformed"]
    first: dict[str, str] = {}

    def fault(name: str, attempt: int) -> str | None:
        return first.setdefault(name, kinds[len(first) % 4]) if attempt == 1 else None

    stub.fault = fault
    result = scored(server(stub, tmp_path, stream=stream), judge, n=4, k=2, temperature=0.6)
    assert result.correct == 8
    assert set(stub.ledger.values()) == {1}
    assert result.server is not None
    assert sum(result.server.faults.values()) == 8
    assert result.server.faults["HTTP 429"] == 2
    assert any(line.startswith("faults: ") for line in result.notes())


def test_a_server_that_dies_midway_loses_nothing(stub, judge, tmp_path) -> None:
    stub.fault = lambda name, attempt: "500" if sum(stub.ledger.values()) >= 5 else None
    asked = server(stub, tmp_path, retries=1, concurrency=1)
    with pytest.raises(ShoestringError, match=r"5 of 12 replies are kept in .*: with --resume only the rest"):
        scored(asked, judge, n=12)
    stub.fault = lambda name, attempt: None
    result = scored(server(stub, tmp_path), judge, n=12)
    assert result.correct == 12
    assert set(stub.ledger.values()) == {1}
    assert len(stub.ledger) == 12
    assert result.server is not None
    assert result.server.kept == 5
    again = scored(server(stub, tmp_path), judge, n=12)
    assert [i.reply for i in again.items] == [i.reply for i in result.items]
    assert len(stub.ledger) == 12
    more = scored(server(stub, tmp_path), judge, n=14)
    assert (more.n, len(stub.ledger)) == (14, 14)


def test_ctrl_c_keeps_what_came(stub, judge, tmp_path) -> None:
    class Stopped(Stage):
        stop_requested = property(lambda self: sum(stub.ledger.values()) >= 3)

    with Stopped(tmp_path / "s", "eval") as stage, pytest.raises(Interrupted, match="replies are kept"):
        scored(server(stub, tmp_path / "r", concurrency=1), judge, n=20, stage=stage)
    came = sum(stub.ledger.values())
    assert 3 <= came < 20
    scored(server(stub, tmp_path / "r"), judge, n=20)
    assert set(stub.ledger.values()) == {1}


def test_a_refused_prompt_is_counted_and_the_others_are_scored(stub, judge, tmp_path) -> None:
    names: list[str] = []

    def fault(name: str, attempt: int) -> str | None:
        names.append(name)
        return "400" if name.rpartition("-")[0] == names[0].rpartition("-")[0] else None

    stub.fault = fault
    result = scored(server(stub, tmp_path, concurrency=1), judge, n=5, k=4, temperature=1.0)
    assert (result.correct, result.outcomes["error"]) == (16, 4)
    assert result.items[0].detail.startswith("refused: HTTP 400")
    assert result.server is not None
    assert result.server.refused == 4
    assert "4 prompts that it refused, counted as not right" in result.notes()


def test_all_prompts_refused_is_a_failure(stub, judge, tmp_path) -> None:
    stub.fault = lambda name, attempt: "400"
    with pytest.raises(ShoestringError, match="it refuses every prompt, the first for: HTTP 400"):
        scored(server(stub, tmp_path), judge, n=6)


@pytest.mark.parametrize(
    ("said", "kept", "cut"),
    [
        *(("length", "length", 4), ("max_tokens", "length", 4), ("eos_token", "stop", 0)),
        ("content_filter", "content_filter", 4),
    ],
)
def test_finish_reasons(stub, judge, tmp_path, said, kept, cut) -> None:
    stub.finish = said
    result = scored(server(stub, tmp_path), judge, n=4)
    assert {item.finish_reason for item in result.items} == {kept}
    assert (result.truncated, result.lower_bound) == (cut, bool(cut))
    assert ("ended by content_filter 4" in result.notes()) == (said == "content_filter")


def test_no_usage_is_a_guess_that_is_told(stub, judge, tmp_path) -> None:
    stub.usage = False
    result = scored(server(stub, tmp_path), judge, n=2)
    assert any("tokens of 2 replies guessed" in line for line in result.notes())
    assert all(0 < item.tokens < 20 for item in result.items)


def test_stated_prices_and_confidence(stub, judge, tmp_path) -> None:
    """Half of the answers are wrong, and it is 90 % sure of the right ones, 20 % of the others."""
    right: dict[str, bool] = {}
    stub.cached = 10

    def say(prompt: str, number: int) -> tuple[str, str]:
        if prompt.startswith("How sure"):
            return "hm", "90" if sure.pop(0) else "20 %"
        right[prompt] = len(right) % 2 == 0
        return "so", str(total(prompt) + (not right[prompt]))

    sure = [True, False] * 4
    stub.say = say
    prices = {"price_in": 1.0, "price_cached": 0.1, "price_out": 2.0, "concurrency": 1}
    with Stage(tmp_path / "s", "eval") as stage:
        asked = server(stub, tmp_path / "r", **prices)
        result = evaluate_server(asked, SUITE, 8, 1, 0, Asking(), judge, stage, confidence=True)
    each = (10 * 1.0 + 10 * 0.1 + 50 * 2.0) / 1e6
    assert result.worth is not None
    assert result.worth.money == pytest.approx(8 * each)
    assert result.worth.money_per_right is not None
    assert result.worth.money_per_right.value == pytest.approx(2 * each)
    assert result.worth.tokens.value == 100
    assert "stated prices a million tokens: 1 in, 0.1 cached, 2 out" in result.worth.line()
    assert result.calibration is not None
    assert (result.calibration.auroc, result.calibration.stated) == (1.0, 8)
    assert result.calibration.ece == pytest.approx(0.15)
    assert result.calibration.brier == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert [item.confidence for item in result.items[:2]] == [0.9, 0.2]
    assert stub.bodies[-1]["messages"][1]["role"] == "assistant"
    assert "<think>" not in stub.bodies[-1]["messages"][1]["content"]
    assert result.to_json()["calibration"]["stated"] == 8


def test_bad_input(stub, judge, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(BadInput, match="NO_SUCH_KEY is not set"):
        server(stub, tmp_path, key_env="NO_SUCH_KEY")
    with pytest.raises(BadInput, match="did you mean 'concurrency'"):
        server(stub, tmp_path, concurency=3)
    with pytest.raises(BadInput, match="url is already in"):
        server(stub, tmp_path, url="http://x")
    with pytest.raises(BadInput, match="set a temperature"):
        scored(server(stub, tmp_path), judge, k=2)
    with pytest.raises(BadInput, match="asked without them"):
        scored(server(stub, tmp_path), judge, tools=("calculator",))
    stub.fault = lambda name, attempt: "401"
    with pytest.raises(BadInput, match="it refuses the key"):
        scored(server(stub, tmp_path), judge)


@pytest.mark.parametrize("few_shot", [0, 2])
def test_a_real_server_of_a_tiny_model_says_what_the_model_says(judge, tmp_path, few_shot) -> None:
    lm = tiny_lm()
    how = {"max_tokens": 24, "few_shot": few_shot, "system": "Be brief."}
    here = evaluate(lm, SUITE, n=6, judge=judge, generator=Engine(lm), **how)
    with really_serving(house_of(lm, lambda: Engine(lm))) as probe:
        there = Server(endpoint_of(f"{probe._parts.geturl()}#tiny", FAST, "test"), tmp_path)
        result = scored(there, judge, n=6, **how)
    assert (result.score, result.outcomes, result.truncated) == (here.score, here.outcomes, here.truncated)
    for ours, theirs in zip(here.items, result.items, strict=True):
        ended = ours.reply.removesuffix("<|im_end|>")
        assert (theirs.problem, theirs.outcome, theirs.reply) == (ours.problem, ours.outcome, ended)
        assert (theirs.prompt_tokens, theirs.finish_reason) == (ours.prompt_tokens, ours.finish_reason)
        assert theirs.tokens == ours.tokens
    assert result.server is not None
    assert result.server.said_models == ("tiny",)


def test_a_real_server_of_a_thinker_has_its_verdicts_and_shares(judge, tmp_path) -> None:
    """Right, wrong, unparsed, without thinking, and cut inside the thinking, by the prompt's sum."""
    lm = tiny_lm()

    def say(prompt: str, _: int) -> str:
        asked = prompt.rpartition("<|im_start|>user\n")[2]
        value = total(asked)
        says = {
            0: f"<think>\nadd\n</think>\n{value}",
            1: str(value + 1),
            2: "<think>\nhm\n</think>\nwho knows",
        }
        return {**says, 3: "<think>\n" + "on and on " * 20, 4: f"It is {value}."}[value % 5]

    here = evaluate(lm, SUITE, n=30, judge=judge, generator=Scripted(lm, say), max_tokens=60)
    with really_serving(house_of(lm, lambda: ScriptedEngine(lm, say))) as probe:
        there = Server(endpoint_of(f"{probe._parts.geturl()}#tiny", FAST, "test"), tmp_path)
        result = scored(there, judge, n=30, max_tokens=60)
    assert {outcome for outcome, count in here.outcomes.items() if count} == {"right", "wrong", "unparsed"}
    assert [i.outcome for i in result.items] == [i.outcome for i in here.items]
    assert [i.finish_reason for i in result.items] == [i.finish_reason for i in here.items]
    assert (result.score, result.ci95, result.truncated) == (here.score, here.ci95, here.truncated)
    assert (result.shape.format, result.shape.cut) == (here.shape.format, here.shape.cut)


def test_two_evals_of_one_folder_at_once_are_refused(stub, judge, tmp_path) -> None:
    gate = threading.Event()

    def fault(name: str, attempt: int) -> None:
        gate.wait(5)

    stub.fault = fault
    first = threading.Thread(target=lambda: scored(server(stub, tmp_path, timeout_s=10), judge, n=2))
    first.start()
    try:
        while not stub.bodies:
            first.join(0.01)
        with pytest.raises(BadInput, match="another process"):
            scored(server(stub, tmp_path), judge, n=2)
    finally:
        gate.set()
        first.join()
