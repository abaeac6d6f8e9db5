"""When waiting requests join."""

from shoestring.engine.request import SamplingParams
from shoestring.engine.scheduler import Request, Scheduler


def request(number: int, n: int = 1, tokens: int = 4) -> Request:
    return Request(number, [0] * tokens, SamplingParams(8, n=n), "", frozenset(), 8)


def admit(scheduler: Scheduler) -> list[tuple[int, int]]:
    """(request, how many of its samples) that joined."""
    joined = scheduler.admit()
    scheduler.running += [s for a in joined for s in a.sequences]
    return [(a.request.id, len(a.sequences)) for a in joined]


def test_requests_that_all_fit_join_at_once_even_in_the_last_slot():
    scheduler = Scheduler(16, 4096)
    scheduler.waiting += [request(i) for i in range(15)]
    assert len(admit(scheduler)) == 15
    scheduler.waiting.append(request(15))
    assert admit(scheduler) == [(15, 1)]


def test_a_queue_waits_until_an_eighth_of_the_slots_is_free():
    scheduler = Scheduler(16, 4096)
    scheduler.waiting += [request(i) for i in range(20)]
    assert len(admit(scheduler)) == 16
    scheduler.remove(3)
    assert admit(scheduler) == []
    scheduler.remove(3)
    assert admit(scheduler) == [(16, 1), (17, 1)]


def test_few_slots_are_filled_as_they_come_free():
    scheduler = Scheduler(4, 4096)
    scheduler.waiting += [request(0, n=3), request(1, n=3), request(2)]
    assert admit(scheduler) == [(0, 3), (1, 1)]
    scheduler.remove(0)
    assert admit(scheduler) == [(1, 1)]


def test_a_prefill_holds_at_least_one_prompt_and_else_its_limit():
    scheduler = Scheduler(16, 10)
    scheduler.waiting += [request(0, tokens=50), request(1, tokens=6), request(2, tokens=4), request(3)]
    assert admit(scheduler) == [(0, 1)]
    assert admit(scheduler) == [(1, 1), (2, 1)]
    assert admit(scheduler) == [(3, 1)]
