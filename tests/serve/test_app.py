"""The API over a real socket, with an engine that says what it is told to."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from room import LM, Room, say, slow, wait_for
from shoestring.serve import conformance
from shoestring.serve.keys import KeySettings, hashed, new_key
from shoestring.serve.probe import Probe


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with Room() as found:
        yield found


@pytest.fixture(scope="module")
def probe(room: Room) -> Probe:
    return room.probe


@pytest.mark.parametrize("name", conformance.checks())
def test_conformance(probe: Probe, name: str) -> None:
    (found,) = conformance.run(probe, [name], lambda finding: None)
    assert found.verdict in ("passed", "skipped"), found.detail


def test_there_are_many_checks() -> None:
    assert len(conformance.checks()) >= 40


def test_thinking_comes_in_its_own_field_and_is_counted(probe: Probe) -> None:
    body = probe.good(probe.chat("q", max_tokens=400))
    choice = body["choices"][0]
    assert choice["message"]["reasoning_content"] == "I add them up, way 0."
    assert choice["message"]["content"] == "forty-two 漢🙂"
    assert "reasoning" not in choice["message"]
    assert choice["finish_details"] == {
        "reason": "end_of_turn",
        "thinking": "closed: the reply began with it",
    }
    usage = body["usage"]
    made = len(LM.tokenizer.encode(say("", 0))) + 1
    assert usage["completion_tokens"] == made
    thought = len(LM.tokenizer.encode("<think>\nI add them up, way 0.\n</think>"))
    assert usage["completion_tokens_details"]["reasoning_tokens"] == thought
    assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"reasoning_field": "reasoning"}, {"reasoning"}),
        ({"reasoning_field": "both"}, {"reasoning", "reasoning_content"}),
        ({"include_reasoning": False}, set()),
    ],
)
def test_the_name_of_the_thinking_can_be_chosen(
    probe: Probe, fields: dict[str, Any], names: set[str]
) -> None:
    message = probe.said("q", max_tokens=400, **fields)
    assert {"reasoning", "reasoning_content"} & message.keys() == names
    streamed = probe.stream("q", max_tokens=400, **fields).deltas()
    assert {name for d in streamed for name in d if name.startswith("reasoning")} == names


def test_a_cut_inside_the_thinking_says_so(probe: Probe) -> None:
    choice = probe.choice("q", max_tokens=14, answer_reserve=0)
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert choice["finish_details"]["truncated_in"] == "reasoning"
    assert choice["finish_details"]["reason"] == "max_tokens"


def test_an_answer_comes_within_its_reserve(probe: Probe) -> None:
    choice = probe.choice("q", max_tokens=40, answer_reserve=12)
    assert choice["message"]["content"].startswith("forty-two")
    assert choice["finish_details"]["guards"] == ["answer_reserve"]


def test_a_budget_closes_the_thinking(probe: Probe) -> None:
    body = probe.good(probe.chat("q", max_tokens=400, thinking={"type": "auto", "budget_tokens": 12}))
    assert body["choices"][0]["finish_details"]["guards"] == ["thinking_budget"]
    assert body["choices"][0]["message"]["content"] == "forty-two 漢🙂"
    assert body["applied"]["thinking_tokens"] == 12


def test_thinking_switched_on_is_written_into_the_prompt(room: Room) -> None:
    body = room.probe.good(
        room.probe.chat("say inside</think>out", max_tokens=99, thinking={"type": "enabled"})
    )
    message = body["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("inside", "out")
    assert "the prompt opened it" in body["choices"][0]["finish_details"]["thinking"]


def test_a_prefix_goes_on_in_the_answer_and_in_the_thinking(probe: Probe) -> None:
    def ask(**last: Any) -> Any:
        messages = [
            {"role": "user", "content": "say on</think>ly"},
            {"role": "assistant", "prefix": True, **last},
        ]
        return probe.said(messages=messages, max_tokens=99)

    assert ask(content="```python\n") == {"role": "assistant", "content": "on</think>ly"}
    inside = ask(content="", reasoning_content="so far")
    assert (inside["reasoning_content"], inside["content"]) == ("on", "ly")
    assert ask(content="And", reasoning_content="all of it")["content"] == "on</think>ly"


def test_calls_come_in_openais_form_and_results_go_back(probe: Probe) -> None:
    tool = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
    call = '<tool_call>{"name": "get", "arguments": {"city": "Paris", "days": 2}}</tool_call>'
    choice = probe.choice(f"say I look.\n{call}\n{call}", max_tokens=400, tools=[tool])
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    calls = choice["message"]["tool_calls"]
    assert [json.loads(c["function"]["arguments"]) for c in calls] == [{"city": "Paris", "days": 2}] * 2
    assert calls[0]["id"] != calls[1]["id"]
    one = probe.choice(f"say {call}\n{call}", max_tokens=400, tools=[tool], parallel_tool_calls=False)
    assert len(one["message"]["tool_calls"]) == 1
    assert one["finish_details"]["dropped_calls"] == 1
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": "18"}
    asked = [{"role": "user", "content": "q"}, choice["message"], result]
    assert probe.said(messages=asked, tools=[tool], max_tokens=400)["content"] == "It is 18 degrees."


def test_several_prompts_and_samples_have_their_own_index(probe: Probe) -> None:
    body = {"model": "tiny", "prompt": ["ab", "cd"], "n": 2, "max_tokens": 4, "echo": True, "logprobs": 1}
    choices = probe.good(probe.post("/completions", body))["choices"]
    assert [c["index"] for c in choices] == [0, 1, 2, 3]
    assert [c["text"][:2] for c in choices] == ["ab", "ab", "cd", "cd"]
    lists = choices[3]["logprobs"]
    assert lists["token_logprobs"] == [None, -1.0, -0.5, -0.5, -0.5, -0.5]
    assert lists["text_offset"] == [0, 1, 2, 3, 4, 5]
    assert lists["top_logprobs"][0] is None


def loops_told(probe: Probe) -> float:
    text = probe.get("/metrics", root=True).raw.decode()
    line = 'shoestring:guard_fired_total{guard="loop_in_answer",model_name="tiny"} '
    return float(text.partition(line)[2].partition("\n")[0] or 0)


def test_a_guard_is_told_of_the_prompt_alone_in_which_it_stepped_in(room: Room) -> None:
    said = ["say " + "la la " * 200, "say forty-two"]
    prompts = [f"<|im_start|>user\n{text}<|im_end|>\n" for text in said]
    body = {"model": "tiny", "prompt": prompts, "max_tokens": 900, "loop_guard": True}
    before = loops_told(room.probe)
    choices = room.probe.good(room.probe.post("/completions", body))["choices"]
    assert [c["finish_details"].get("guards") for c in choices] == [["loop_in_answer"], None]
    assert loops_told(room.probe) == before + 1


def test_the_prompt_alone_can_be_scored(probe: Probe) -> None:
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 0, "echo": True, "logprobs": 0}
    choice = probe.good(probe.post("/completions", body))["choices"][0]
    assert choice["text"] == "abc"
    assert choice["logprobs"]["token_logprobs"] == [None, -1.0, -1.0]


def test_no_gap_can_be_filled_without_its_tokens(probe: Probe) -> None:
    got = probe.post("/completions", {"model": "tiny", "prompt": "a", "suffix": "b"})
    assert (got.status, got.json["error"]["param"]) == (400, "suffix")


def test_deepseeks_paths_lead_here_too(probe: Probe) -> None:
    for path in ("/chat/completions", "/beta/chat/completions"):
        assert probe.post(path, probe.body("q"), root=True).status == 200


def test_it_says_what_it_is(probe: Probe) -> None:
    card = probe.models[0]
    assert (card["licence"], card["stage"], card["base"]) == ("Apache-2.0", "base", "smollm2-135m")
    assert card["lineage"]["stages"][0]["name"] == "smollm2-135m"
    assert card["filters"] == []
    assert probe.get("/version", root=True).json["version"]


def test_a_query_that_is_none_is_refused_in_openais_shape(room):
    for path, param in (("/runs/rollouts?run=a&unit=b&step=x", "step"), ("/runs/overview", "run")):
        got = room.probe.get(path, root=True)
        assert got.status == 400
        assert got.json["error"]["param"] == param


def test_metrics_count(room: Room) -> None:
    room.probe.chat("q", max_tokens=400)
    text = room.probe.get("/metrics", root=True).raw.decode()
    for name in (
        "num_requests_running",
        "num_requests_waiting",
        "prompt_tokens_total",
        "generation_tokens_total",
    ):
        assert f'shoestring:{name}{{model_name="tiny"}}' in text
    assert 'shoestring:request_success_total{finished_reason="stop",model_name="tiny"}' in text
    for name in ("time_to_first_token", "inter_token_latency", "e2e_request_latency"):
        assert f'shoestring:{name}_seconds_bucket{{le="0.1",model_name="tiny"}}' in text


def test_a_client_that_goes_frees_its_place() -> None:
    with Room(max_tokens=4000) as room:
        engine = room.engines[0]
        slow(engine, 0.005)  # else all may be said before the client is gone
        room.probe.leave(2, content="count 900", max_tokens=3000)
        wait_for(lambda: engine.aborted and not engine.running)
        line = room.house.lines["tiny"]
        wait_for(lambda: (line.running, line.requests, room.house.busy) == (0, 0, 0))


def test_the_log_has_no_prompt(room: Room) -> None:
    room.probe.chat("say a-secret-word", user="u1")
    wait_for(lambda: any("u1" in line for line in room.lines))
    assert not any("a-secret-word" in line for line in room.lines)
    line = next(line for line in room.lines if "u1" in line)
    assert "key=local" in line
    assert "status=200" in line


def test_prompts_are_logged_on_request() -> None:
    with Room(log_prompts=True) as room:
        room.probe.chat("say a-secret-word")
        wait_for(lambda: any("a-secret-word" in line for line in room.lines))


def test_a_full_queue_is_a_503_with_when_to_come_again() -> None:
    with Room(max_running=1, max_waiting=0) as room:
        room.engines[0].gate.clear()
        import threading

        first = threading.Thread(target=lambda: room.probe.chat("count 5"))
        first.start()
        wait_for(lambda: room.house.lines["tiny"].running == 1)
        got = room.probe.chat("q")
        assert (got.status, got.json["error"]["code"]) == (503, "queue_full")
        assert int(got.headers["retry-after"]) >= 1
        room.engines[0].gate.set()
        first.join()


def test_waiting_clients_are_told_their_place() -> None:
    import threading

    with Room(max_running=1) as room:
        room.engines[0].gate.clear()
        first = threading.Thread(target=lambda: room.probe.chat("count 5"))
        first.start()
        wait_for(lambda: room.house.lines["tiny"].running == 1)
        seen: list[bytes] = []

        def ask() -> None:
            connection, reply = room.probe._open(
                "POST",
                "/chat/completions",
                json.dumps(room.probe.body("q", stream=True)).encode(),
                {"Content-Type": "application/json"},
                False,
            )
            seen.append(reply.headers["x-queue-position"].encode())
            seen.extend(reply.readlines())
            connection.close()

        second = threading.Thread(target=ask)
        second.start()
        wait_for(lambda: len(room.house.lines["tiny"].waiting) == 1)
        time.sleep(1.2)  # a place is told once a second
        room.engines[0].gate.set()
        first.join()
        second.join()
        assert seen[0] == b"1"
        assert any(line.startswith(b": queued, place 1 of 1") for line in seen)
        assert b"data: [DONE]\n" in seen


def test_a_reader_that_takes_nothing_is_dropped() -> None:
    import socket

    with Room(stall_seconds=0.3) as room:
        asked = room.probe.body("count 900", max_tokens=3000, n=4, stream=True, logprobs=True)
        body = json.dumps(asked).encode()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((room.probe._parts.hostname, room.probe._parts.port))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            connection.sendall((head + "Content-Type: application/json\r\n\r\n").encode() + body)
            wait_for(lambda: any("status=499" in line for line in room.lines), 20)
        assert room.house.lines["tiny"].running == 0


def test_keys_are_asked_for_and_limited() -> None:
    key, _ = new_key("alice")
    keys = [KeySettings(name="alice", sha256=hashed(key), requests_per_minute=2, max_tokens=50)]
    with Room(keys=keys) as room:
        probe, given = room.probe, {"Authorization": f"Bearer {key}"}
        body = {"messages": [{"role": "user", "content": "q"}]}
        assert probe.post("/chat/completions", body).status == 401
        assert probe.post("/chat/completions", body, Authorization="Bearer sk-wrong").status == 401
        assert probe.get("/health", root=True).status == 200
        assert probe.get("/metrics", root=True).status == 401
        assert probe.post("/chat/completions", body | {"max_tokens": 51}, **given).status == 400
        replies = [probe.post("/chat/completions", body, **given) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert replies[0].json["applied"]["max_tokens"] == 50
        assert int(replies[2].headers["retry-after"]) > 30
        assert not any(key in line for line in room.lines)


def test_bodies_have_a_size_and_a_type() -> None:
    with Room(max_body_bytes=1000) as room:
        assert room.probe.chat("x" * 2000).status == 413
        assert room.probe.chat("q").status == 200
        got = room.probe._ask("POST", "/chat/completions", b"{}", {"Content-Type": "text/plain"}, False)
        assert got.status == 415


def test_another_sites_name_isnt_let_in(probe: Probe) -> None:
    got = probe.post("/chat/completions", probe.body("q"), Host="evil.example")
    assert (got.status, got.json["error"]["code"]) == (403, "host_not_allowed")


def test_a_request_has_its_time() -> None:
    with Room(request_seconds=0.4, max_tokens=4000) as room:
        engine = room.engines[0]
        step = engine.step
        engine.step = lambda: (time.sleep(0.05), step())[1]  # type: ignore[method-assign]
        choice = room.probe.choice("count 900", max_tokens=3000)
        assert choice["finish_reason"] == "length"
        assert choice["finish_details"]["reason"] == "time"
        assert choice["message"]["content"].startswith("0 1")


def test_a_fault_of_the_engine_is_a_503_and_passes(capfd: pytest.CaptureFixture[str]) -> None:
    with Room(fault=lambda text: "step" if "poison" in text else "") as room:
        got = room.probe.chat("poison")
        assert (got.status, got.json["error"]["code"]) == (503, "engine_failed")
        assert room.probe.chat("q").status == 200
        assert room.probe.get("/health", root=True).json["models"]["tiny"]["restarts"] == 1
    capfd.readouterr()


def test_draining_finishes_what_runs_and_refuses_what_comes() -> None:
    import threading

    with Room(max_tokens=400) as room:
        room.engines[0].gate.clear()
        said: list[Any] = []
        first = threading.Thread(target=lambda: said.append(room.probe.chat("count 5")))
        first.start()
        wait_for(lambda: room.house.lines["tiny"].running == 1)
        room.house.drain()
        assert room.probe.get("/health", root=True).status == 503
        assert room.probe.chat("q").json["error"]["code"] == "shutting_down"
        room.engines[0].gate.set()
        first.join()
        assert said[0].json["choices"][0]["message"]["content"] == "0 1 2 3 4"
