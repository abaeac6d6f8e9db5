"""How replies reach a client: echoes in streams, and what a fault of the server itself leaves behind."""

from typing import Any

import pytest

from room import Room, wait_for
from shoestring.serve import reply as reply_module
from shoestring.serve.shape import Shape


def streamed(room: Room, **fields: Any) -> list[dict[str, Any]]:
    found = room.probe.stream("abc", path="/completions", **fields)
    assert found.done
    return [choice for chunk in found.chunks for choice in chunk["choices"]]


@pytest.mark.parametrize("much", [reply_module.MUCH, 1])
def test_an_echo_is_the_same_streamed_and_whole(much: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the prompt's logprobs before its text's, and offsets that go on; built in a thread too."""
    monkeypatch.setattr(reply_module, "MUCH", much)
    with Room() as room:
        asked = {"max_tokens": 4, "echo": True, "logprobs": 1}
        whole = room.probe.good(room.probe.post("/completions", {"prompt": "abc", **asked}))["choices"][0]
        pieces = streamed(room, **asked)
        assert "".join(piece["text"] for piece in pieces) == whole["text"]
        for name, wanted in whole["logprobs"].items():
            assert [x for piece in pieces if piece["logprobs"] for x in piece["logprobs"][name]] == wanted
        assert whole["logprobs"]["text_offset"] == list(range(7))
        assert whole["logprobs"]["token_logprobs"][:3] == [None, -1.0, -1.0]


def test_the_prompt_alone_can_be_streamed() -> None:
    with Room() as room:
        first, last = streamed(room, max_tokens=0, echo=True, logprobs=0)
        assert first["text"] == "abc"
        assert first["logprobs"]["token_logprobs"] == [None, -1.0, -1.0]
        assert (last["text"], last["finish_reason"]) == ("", "length")
        body = {"prompt": "abc", "max_tokens": 0, "echo": True}
        assert room.probe.good(room.probe.post("/completions", body))["usage"]["completion_tokens"] == 0


def metrics(room: Room) -> str:
    return room.probe.get("/metrics", root=True).raw.decode()


@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_while_a_reply_is_written_is_seen(
    stream: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Shape, *given: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Shape, "whole", broken)
    monkeypatch.setattr(Shape, "end", broken)
    with Room() as room:
        if stream:
            found = room.probe.stream("say ab")
            assert found.chunks[-1]["error"]["message"] == "a fault of the server (ZeroDivisionError)"
        else:
            assert room.probe.chat("say ab").status == 500
        wait_for(lambda: any("status=500" in line for line in room.lines))
        assert 'request_errors_total{model_name="tiny",status="500"} 1.0' in metrics(room)
        assert "request_success_total{" not in metrics(room)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_fault_before_there_is_a_reply_is_seen(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Room() as room:

        def broken(*given: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(room.house, "reply", broken)
        got = room.probe.chat("q")
        assert (got.status, got.error) == (500, "a fault of the server (ZeroDivisionError)")
        assert any("/v1/chat/completions 500" in line for line in room.lines)
        assert 'request_errors_total{model_name="",status="500"} 1.0' in metrics(room)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_every_refusal_is_counted() -> None:
    with Room() as room:
        assert room.probe.get("/v1/nowhere", root=True).status == 404
        assert room.probe.get("/runs/overview", root=True).status == 400
        for status in (404, 400):
            assert f'request_errors_total{{model_name="",status="{status}"}} 1.0' in metrics(room)


def test_tokens_of_requests_are_counted_as_vllms_boards_ask() -> None:
    with Room() as room:
        room.probe.chat("say abc", n=2)
        for name, total in (("prompt", None), ("generation", 8), ("max_num_generation", 4)):
            assert f'shoestring:request_{name}_tokens_count{{model_name="tiny"}} 1.0' in metrics(room)
            if total is not None:
                assert f'request_{name}_tokens_sum{{model_name="tiny"}} {total}.0' in metrics(room)
