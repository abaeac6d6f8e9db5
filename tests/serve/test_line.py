"""The line before an engine: first come first served, bounded, and nobody's place is lost."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoestring.serve.errors import ApiError
from shoestring.serve.line import Line, Ticket


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def granted(*tickets: Ticket) -> list[bool]:
    return [ticket.granted.is_set() for ticket in tickets]


def test_whoever_fits_runs_and_the_others_wait_in_order() -> None:
    async def work() -> None:
        line = Line(slots=3, max_waiting=9)
        a, b, c, d = line.join(2), line.join(2), line.join(1), line.join(1)
        assert granted(a, b, c, d) == [True, False, False, False]  # c fits, and b was first
        assert [place.position for t in (b, c, d) if (place := line.place(t))] == [1, 2, 3]
        line.leave(a, seconds=1.0)
        assert granted(b, c, d) == [True, True, False]
        assert line.running == 3
        line.leave(b)
        line.leave(c)
        line.leave(d)
        assert (line.running, line.requests, len(line.waiting)) == (0, 0, 0)

    run(work)


def test_more_samples_than_places_run_alone() -> None:
    async def work() -> None:
        line = Line(slots=2, max_waiting=9)
        big, small = line.join(5), line.join(1)
        assert granted(big, small) == [True, False]
        line.leave(big)
        assert granted(small) == [True]

    run(work)


def test_a_full_line_says_when_to_come_again() -> None:
    async def work() -> None:
        line = Line(slots=1, max_waiting=1)
        line.join(1)
        line.join(1)
        with pytest.raises(ApiError) as caught:
            line.join(1)
        assert (caught.value.status, caught.value.code) == (503, "queue_full")
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= 1

    run(work)


def test_who_leaves_while_waiting_makes_room() -> None:
    async def work() -> None:
        line = Line(slots=1, max_waiting=9)
        a, b, c = line.join(1), line.join(1), line.join(1)
        line.leave(b)
        line.leave(a)
        assert granted(c) == [True]
        assert line.running == 1

    run(work)


def test_places_come_back_whatever_happens() -> None:
    async def work() -> None:
        line = Line(slots=1, max_waiting=9)
        with pytest.raises(RuntimeError):
            async with line.held(line.join(1)):
                raise RuntimeError
        assert line.running == 0

    run(work)


def test_a_closed_line_refuses_who_waits_and_who_comes() -> None:
    async def work() -> None:
        line = Line(slots=1, max_waiting=9)
        a, b = line.join(1), line.join(1)
        line.close(ApiError(503, "closing"))
        assert granted(a, b) == [True, True]
        assert (a.refused, b.refused is not None) == (None, True)
        with pytest.raises(ApiError, match="closing"):
            line.join(1)
        line.leave(b)
        line.leave(a)
        assert line.running == 0

    run(work)
