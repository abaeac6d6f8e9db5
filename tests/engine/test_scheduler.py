"""When waiting requests join, what a step reads, and who makes room."""

from shoestring.engine.blocks import BlockPool
from shoestring.engine.request import SamplingParams
from shoestring.engine.scheduler import Scheduler, Step
from shoestring.engine.sequence import Request, Token
from shoestring.ops.paged import SPAN


def request(number: int, n: int = 1, tokens: int = 4, limit: int = 8) -> Request:
    prompt = [number] * tokens  # no two begin alike
    return Request(number, prompt, SamplingParams(limit, n=n), "", frozenset(), limit)


def scheduler_of(
    max_batch: int,
    max_prefill: int = 4096,
    chunk: int | None = None,
    blocks: int = 10_000,
    keeps: bool = False,
) -> Scheduler:
    pool = BlockPool(keeps)
    pool.limit = blocks
    return Scheduler(max_batch, max_prefill, chunk, pool)


def take(scheduler: Scheduler, drafting: bool = False) -> Step:
    """A step, as the engine and its runner would take it; every token is 0."""
    step = scheduler.next_step(0, drafting)
    if step.decode:
        for sequence in scheduler.running:
            assert sequence.place // SPAN < len(sequence.table.blocks)
            sequence.take(Token(0, 0.0))
    for piece in step.pieces:
        piece.reading.read = piece.end
        if piece.reading.finished:
            for sequence in piece.reading.sequences:
                if not sequence.ids:
                    sequence.take(Token(0, 0.0))
            scheduler.join(piece.reading)
    return step


def read(step: Step) -> list[tuple[int, int]]:
    return [(p.reading.request.id, p.end - p.begin) for p in step.pieces]


def joined(scheduler: Scheduler) -> list[tuple[int, int]]:
    """(request, how many of its samples) that a step admits."""
    return [(p.reading.request.id, len(p.reading.sequences)) for p in take(scheduler).pieces]


def test_requests_that_all_fit_join_at_once_even_in_the_last_slot():
    scheduler = scheduler_of(16)
    scheduler.waiting += [request(i) for i in range(15)]
    assert len(joined(scheduler)) == 15
    scheduler.waiting.append(request(15))
    assert joined(scheduler) == [(15, 1)]


def test_a_queue_waits_until_an_eighth_of_the_slots_is_free():
    scheduler = scheduler_of(16)
    scheduler.waiting += [request(i) for i in range(20)]
    assert len(joined(scheduler)) == 16
    scheduler.remove(3)
    assert joined(scheduler) == []
    scheduler.remove(3)
    assert joined(scheduler) == [(16, 1), (17, 1)]


def test_with_chunks_nobody_waits_for_a_slot_that_is_free():
    scheduler = scheduler_of(16, chunk=100)
    scheduler.waiting += [request(i) for i in range(20)]
    assert len(joined(scheduler)) == 16
    scheduler.remove(3)
    assert joined(scheduler) == [(16, 1)]


def test_few_slots_are_filled_as_they_come_free():
    scheduler = scheduler_of(4)
    scheduler.waiting += [request(0, n=3), request(1, n=3), request(2)]
    assert joined(scheduler) == [(0, 3), (1, 1)]
    scheduler.remove(0)
    assert joined(scheduler) == [(1, 1)]


def test_a_step_reads_so_many_tokens_and_splits_only_what_is_longer():
    scheduler = scheduler_of(16, 10)
    scheduler.waiting += [request(0, tokens=25), request(1, tokens=4), request(2, tokens=4), request(3)]
    steps = [take(scheduler) for _ in range(5)]
    assert [read(step) for step in steps] == [[(0, 10)], [(0, 10)], [(0, 5), (1, 4)], [(2, 4), (3, 4)], []]
    assert [step.decode for step in steps] == [False] * 4 + [True]


def test_with_chunks_a_long_prompt_holds_nobody_up():
    scheduler = scheduler_of(16, 100, chunk=10)
    scheduler.waiting += [request(0), request(3)]
    assert read(take(scheduler)) == [(0, 4), (3, 4)]
    scheduler.waiting += [request(1, tokens=25), request(2)]
    steps = [take(scheduler) for _ in range(3)]
    assert [read(step) for step in steps] == [[(1, 10)], [(1, 10)], [(1, 5), (2, 4)]]
    assert all(step.decode for step in steps)
    assert len(scheduler.running[0].ids) == 4
    scheduler = scheduler_of(16, 100, chunk=10)  # where nothing runs there is nobody to hold up
    scheduler.waiting.append(request(1, tokens=25))
    assert read(take(scheduler)) == [(1, 25)]


def test_the_same_beginning_is_read_once():
    scheduler = scheduler_of(16)
    for number in (1, 2):
        prompt = [7] * 70 + [number] * 5
        scheduler.waiting.append(Request(number, prompt, SamplingParams(8), "", frozenset(), 8))
    step = take(scheduler)
    assert [(p.begin, p.end) for p in step.pieces] == [(0, 75), (64, 75)]
    assert (scheduler.asked, scheduler.found) == (150, 64)
    assert [s.request.cached for s in scheduler.running] == [0, 64]


def test_every_tokens_own_pass_is_wanted_where_its_routing_is():
    scheduler = scheduler_of(16)
    params = SamplingParams(8, record_routing=True)
    scheduler.waiting += [Request(i, [7] * 70, params, "", frozenset(), 8) for i in (1, 2)]
    assert [(p.begin, p.end) for p in take(scheduler).pieces] == [(0, 70), (0, 70)]


def test_who_came_last_makes_room_and_comes_back_first():
    scheduler = scheduler_of(16, blocks=7)
    scheduler.waiting += [request(i, tokens=SPAN - 2, limit=100) for i in range(3)]
    assert len(joined(scheduler)) == 3  # a block each, one more for each to grow into
    made = [take(scheduler) for _ in range(2 * SPAN)]
    assert [s.request.id for s in scheduler.running] == [0, 1]
    assert scheduler.preemptions == 1
    assert [step.left for step in made if step.left] == [[2]]
    (waits,) = scheduler.again
    assert waits.tokens == [2] * (SPAN - 2) + [0] * (len(waits.sequences[0].ids) - 1)
    assert scheduler.pool.held == 6
    scheduler.waiting.append(request(3))
    take(scheduler)
    assert scheduler.waiting  # though it would fit
    before = list(waits.sequences[0].ids)
    scheduler.remove(0)
    take(scheduler)
    assert [s.request.id for s in scheduler.running] == [1, 2]
    assert scheduler.running[1].ids == before  # nothing is made twice


def test_alone_a_request_takes_the_samples_that_fit():
    scheduler = scheduler_of(16, blocks=4)
    scheduler.waiting.append(request(0, n=5, tokens=10))
    assert joined(scheduler) == [(0, 3)]
    take(scheduler)
    assert scheduler.pool.held == 3  # a copy of the last block for all but one


def test_what_is_dropped_leaves_no_block():
    scheduler = scheduler_of(16, 20)
    dropped = request(0, n=2, tokens=50)
    scheduler.waiting += [dropped, request(1)]
    take(scheduler)
    assert scheduler.pool.held == 2
    scheduler.drop(dropped)
    assert scheduler.pool.held == 0
    assert joined(scheduler) == [(1, 1)]


def test_the_more_who_wait_for_each_that_runs_the_more_a_step_reads():
    scheduler = scheduler_of(16, max_prefill=64, chunk=16)
    scheduler.waiting.append(request(0))
    take(scheduler)  # it runs; then ten come
    scheduler.waiting += [request(i, tokens=16) for i in range(1, 11)]
    read_at_once = [sum(tokens for _, tokens in read(take(scheduler))) for _ in range(4)]
    assert read_at_once == [64, 16, 16, 16]  # 10 for the one: all that a step may; then 6 for five: one chunk


def test_who_has_no_slot_makes_no_step_longer():
    scheduler = scheduler_of(3, max_prefill=64, chunk=16)
    scheduler.waiting.append(request(0))
    take(scheduler)
    scheduler.waiting += [request(i, tokens=40) for i in range(1, 40)]
    assert sum(tokens for _, tokens in read(take(scheduler))) == 32  # two may join the one
