"""One request from the line to its end: waiting, several samples, and time that runs out."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from room import Room, slow, streamed_lines, wait_for
from scripted_engine import Sample
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.serve.reply import TalkReply


@contextmanager
def taken(room: Room) -> Iterator[None]:
    """Its one place is taken, until the end."""
    room.engines[0].gate.clear()
    first = threading.Thread(target=lambda: room.probe.chat("count 5"))
    first.start()
    try:
        wait_for(lambda: room.house.lines["tiny"].running == 1)
        yield
    finally:
        room.engines[0].gate.set()
        first.join()


def test_what_waits_hears_something_though_its_place_stays() -> None:
    with Room(max_running=1, keep_alive_seconds=0.1) as room:
        lines: list[bytes] = []
        asking = threading.Thread(target=lambda: lines.extend(streamed_lines(room.probe, "q")))
        with taken(room):
            asking.start()
            wait_for(lambda: len(room.house.lines["tiny"].waiting) == 1)
            time.sleep(0.8)
        asking.join()
        assert len([line for line in lines if line.startswith(b": queued, place 1 of 1")]) >= 3
        assert lines[-1].strip() == b"data: [DONE]"


def test_what_is_made_slowly_hears_that_it_lives() -> None:
    with Room(keep_alive_seconds=0.1) as room:
        slow(room.engines[0], 0.4)
        lines = streamed_lines(room.probe, "say ab")
        assert len([line for line in lines if line.strip() == b": keep-alive"]) >= 3


def test_a_queue_that_doesnt_move_is_a_503() -> None:
    with Room(max_running=1, queue_seconds=0.2, keep_alive_seconds=0.05) as room, taken(room):
        got = room.probe.chat("q")
        assert (got.status, got.json["error"]["code"]) == (503, "queue_timeout")
        assert got.headers["retry-after"] == "30"
        assert len(room.house.lines["tiny"].waiting) == 0


def test_of_several_samples_one_that_ended_before_the_time_was_over_says_so() -> None:
    with Room(request_seconds=0.8, max_tokens=4000) as room:
        slow(room.engines[0], 0.02)
        body = room.probe.good(room.probe.chat("one is short", max_tokens=3000, n=2))
        short, long = body["choices"]
        assert (short["finish_reason"], short["finish_details"]["reason"]) == ("stop", "end_of_turn")
        assert short["message"]["content"] == "0 1"
        assert "truncated_in" not in short["finish_details"]
        assert (long["finish_reason"], long["finish_details"]["reason"]) == ("length", "time")
        assert body["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_a_samples_end_doesnt_wait_for_the_others() -> None:
    with Room(max_tokens=4000) as room:
        slow(room.engines[0], 0.005)
        chunks = room.probe.stream("one is short", max_tokens=400, n=2).chunks
        places = [(c["choices"][0]["index"], c["choices"][0]["finish_reason"]) for c in chunks]
        assert [place for place in places if place[1]] == [(0, "stop"), (1, "length")]
        assert places.index((0, "stop")) < len(places) // 2


def test_a_reply_that_ended_in_its_thinking_says_so() -> None:
    """Where nothing is kept for the answer."""
    with Room() as room:
        choice = room.probe.choice("say <think>\nso", max_tokens=60, answer_reserve=0)
        assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
        assert choice["finish_details"]["truncated_in"] == "reasoning"


def test_the_answer_can_have_a_limit_of_its_own() -> None:
    with Room() as room:
        body = room.probe.good(room.probe.chat("q", max_tokens=400, max_answer_tokens=5))
        choice = body["choices"][0]
        assert choice["message"]["reasoning_content"] == "I add them up, way 0."
        assert choice["message"]["content"] == "forty"
        assert (choice["finish_reason"], choice["finish_details"]["reason"]) == (
            "length",
            "max_answer_tokens",
        )
        assert choice["finish_details"]["truncated_in"] == "content"
        assert body["applied"]["max_answer_tokens"] == 5


def test_a_reply_that_can_have_no_first_token_is_refused() -> None:
    """Never 200 with nothing."""
    with Room() as room:
        engine = room.engines[0]

        def fail(sample: Sample, params: SamplingParams) -> None:
            sample.over, sample.stopped_by = FinishReason.ABORT, "nothing is allowed"

        engine._next = fail  # type: ignore[method-assign]
        got = room.probe.chat("q")
        assert (got.status, got.error) == (400, "nothing could be made: nothing is allowed")


def test_what_ends_while_its_news_are_sent_is_sent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads slowly: the engine is done before the first piece has gone out."""

    async def late(self: TalkReply, work: Callable[[], bytes]) -> bytes:
        await asyncio.sleep(0.2)
        return work()

    monkeypatch.setattr(TalkReply, "_built", late)
    with Room() as room:
        slow(room.engines[0], 0.02)
        found = room.probe.stream("say abcdef")
        choices = [choice for chunk in found.chunks for choice in chunk["choices"]]
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "abcdef"
        assert choices[-1]["finish_reason"] == "stop"
