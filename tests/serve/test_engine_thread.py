"""One thread owns the engine: what it is asked, what it tells, and what a fault does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from room import slow
from scripted_engine import ScriptedEngine
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.serve.engine_thread import CROWD, FAULTS, EngineThread, Watched
from shoestring.serve.errors import ApiError
from shoestring.serve.job import Job, News
from shoestring.serve.strikes import FORGET_SECONDS, Strikes
from tiny import tiny_lm

LM = tiny_lm()
GREEDY = SamplingParams(max_tokens=12, temperature=0)


def scripted(fault: Callable[[str], str] = lambda text: "", reply: str = "hello") -> ScriptedEngine:
    return ScriptedEngine(LM, lambda text, i: f"{reply}{i}" if i else reply, fault)


async def ended(thread: EngineThread, job: Job, changed: asyncio.Event) -> list[int]:
    """All that sample 0 made, as it was told."""
    ids: list[int] = []
    async with asyncio.timeout(10):
        while True:
            await changed.wait()
            changed.clear()
            ids += [i for news in job.news() if news.sample == 0 for i in news.ids]
            if job.over:
                return ids


def run(
    make: Callable[[], Watched], work: Callable[[EngineThread], Coroutine[Any, Any, None]]
) -> EngineThread:
    thread = EngineThread(make)

    async def whole() -> None:
        thread.start()
        try:
            await work(thread)
        finally:
            await thread.stop()

    asyncio.run(whole())
    return thread


def submit(thread: EngineThread, text: str, params: SamplingParams = GREEDY) -> tuple[Job, asyncio.Event]:
    changed = asyncio.Event()
    return thread.submit(LM.tokenizer.encode(text), params, "", changed), changed


def test_tokens_come_as_they_are_made_and_are_the_engines() -> None:
    wanted = Engine(LM).generate([LM.tokenizer.encode("abc")], GREEDY, [""])[0][0]

    async def work(thread: EngineThread) -> None:
        jobs = [submit(thread, "abc") for _ in range(3)]
        for job, changed in jobs:
            assert await ended(thread, job, changed) == wanted.ids
            assert job.completions is not None
            assert job.completions[0].ids == wanted.ids

    run(lambda: Engine(LM), work)


def test_samples_are_told_apart() -> None:
    async def work(thread: EngineThread) -> None:
        job, changed = submit(thread, "q", SamplingParams(max_tokens=20, n=3))
        await ended(thread, job, changed)
        said = [LM.tokenizer.decode(c.ids[:-1]) for c in job.completions or ()]
        assert said == ["hello", "hello1", "hello2"]

    run(scripted, work)


def test_a_refused_request_is_its_own_error() -> None:
    async def work(thread: EngineThread) -> None:
        good, changed = submit(thread, "good")
        bad, bad_changed = submit(thread, "poison")
        await ended(thread, bad, bad_changed)
        assert bad.error is not None
        assert bad.error.status == 400
        assert LM.tokenizer.decode((await ended(thread, good, changed))[:-1]) == "hello"

    thread = run(lambda: scripted(lambda text: "submit" if "poison" in text else ""), work)
    assert thread.health.restarts == 0


@pytest.mark.filterwarnings("ignore")
def test_a_fault_ends_all_and_the_engine_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    made: list[ScriptedEngine] = []

    def make() -> ScriptedEngine:
        made.append(scripted(lambda text: "step" if "poison" in text else ""))
        return made[-1]

    async def work(thread: EngineThread) -> None:
        made[0].gate.clear()
        jobs = [submit(thread, text) for text in ("good", "poison")]
        made[0].gate.set()
        for job, changed in jobs:
            await ended(thread, job, changed)
        assert [job.error.status if job.error else 0 for job, _ in jobs].count(503) >= 1
        assert jobs[1][0].error is not None
        assert jobs[1][0].error.retry_after is not None
        job, changed = submit(thread, "after")
        assert LM.tokenizer.decode((await ended(thread, job, changed))[:-1]) == "hello"

    thread = run(make, work)
    assert thread.health.up
    assert thread.health.restarts == 1
    assert len(made) == 2
    assert "a kernel broke" in capsys.readouterr().err  # our bug keeps its traceback


def test_a_request_that_was_there_twice_isnt_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(thread: EngineThread) -> None:
        for _ in range(2):
            job, changed = submit(thread, "poison")
            await ended(thread, job, changed)
        with pytest.raises(ApiError, match="refused for 5 minutes") as caught:
            submit(thread, "poison")
        assert caught.value.status == 500
        job, changed = submit(thread, "good")
        await ended(thread, job, changed)
        assert job.error is None

    run(lambda: scripted(lambda text: "step" if "poison" in text else ""), work)
    capsys.readouterr()


def test_who_was_there_is_free_of_it_once_answered_or_after_a_while() -> None:
    now = [0.0]
    strikes = Strikes(lambda: now[0])
    texts = ("poison", "good", "late")
    jobs = [Job(LM.tokenizer.encode(text), GREEDY, "", asyncio.Event()) for text in texts]
    strikes.blame(jobs[:2])
    strikes.clear(jobs[1])
    now[0] = 10.0
    strikes.blame(jobs)
    assert [strikes.bars(job) for job in jobs] == [True, False, False]
    now[0] = FORGET_SECONDS + 1.0  # since the first
    assert not strikes.bars(jobs[0])
    strikes.blame(jobs)
    assert [strikes.bars(job) for job in jobs] == [True, True, True]
    now[0] = 2 * FORGET_SECONDS + 2.0
    assert not any(strikes.bars(job) for job in jobs)


def test_an_engine_that_keeps_failing_stays_down_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(thread: EngineThread) -> None:
        for i in range(FAULTS + 1):
            job, changed = submit(thread, f"{i}")
            await ended(thread, job, changed)
        with pytest.raises(ApiError, match="the engine is down") as caught:
            submit(thread, "more")
        assert caught.value.status == 503

    thread = run(lambda: scripted(lambda text: "step"), work)
    assert not thread.health.up
    assert "RuntimeError" in thread.health.why
    capsys.readouterr()


def step_by_step() -> ScriptedEngine:
    """Each opening of its gate lets one step through, however busy the machine is."""

    def close(_: str) -> str:
        engine.gate.clear()
        return ""

    engine = scripted(close, reply="x" * 1000)
    return engine


async def first_token(thread: EngineThread, engine: ScriptedEngine) -> Job:
    """A request whose first token is told, and whose second waits for the gate."""
    job, changed = submit(thread, "q", SamplingParams(max_tokens=900))
    async with asyncio.timeout(10):
        while not engine.running:
            await asyncio.sleep(0.001)
        engine.gate.set()
        await changed.wait()
    return job


def test_an_abort_ends_the_work_before_the_next_token() -> None:
    engine = step_by_step()

    async def work(thread: EngineThread) -> None:
        thread.abort(await first_token(thread, engine))
        engine.gate.set()
        async with asyncio.timeout(10):
            while engine.running:
                await asyncio.sleep(0.001)
        assert engine.steps <= 2  # the one that was told, and one that began before the word came
        assert len(engine.aborted) == 1

    run(lambda: engine, work)


def test_what_runs_when_it_stops_is_told() -> None:
    engine = step_by_step()

    async def work(thread: EngineThread) -> None:
        job = await first_token(thread, engine)
        stopped = asyncio.create_task(thread.stop())
        await asyncio.sleep(0)  # the word is given
        engine.gate.set()
        await stopped
        await asyncio.sleep(0.01)
        assert job.error is not None
        assert job.error.status == 503

    run(lambda: engine, work)


@pytest.mark.parametrize(("samples", "pace"), [(15, 1e6), (16, 1e6), (16, 0.0)])
def test_in_a_crowd_tokens_come_together(samples: int, pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the end at once, nothing lost; a few are told of each token."""
    told: list[int] = []
    jobs: list[Job] = []

    hear = Job.told

    def counted(self: Job, news: list[News]) -> None:
        told.append(sum(len(one.ids) for one in news))
        hear(self, news)

    monkeypatch.setattr(Job, "told", counted)

    async def work(thread: EngineThread) -> None:
        for i in range(samples):
            jobs.append(submit(thread, f"a{i}")[0])
        async with asyncio.timeout(20):
            while not all(job.over for job in jobs):
                await asyncio.sleep(0.01)

    thread = EngineThread(lambda: Engine(LM, max_batch=16), pace)

    async def whole() -> None:
        jobs_made = asyncio.create_task(work(thread))
        await asyncio.sleep(0)  # all are asked for before the engine's first step
        thread.start()
        await jobs_made
        await thread.stop()

    asyncio.run(whole())
    made = [len(job.completions[0].ids) for job in jobs if job.completions]
    assert len(made) == samples
    assert sum(told) == sum(made)
    if pace and samples >= CROWD:
        assert len(told) == 2 * samples
        assert told[:samples] == [1] * samples
    else:
        assert told == [1] * sum(made)


def test_an_abort_is_seen_in_what_is_used() -> None:
    """Though no step follows it."""
    engine = step_by_step()

    async def work(thread: EngineThread) -> None:
        job = await first_token(thread, engine)
        assert thread.usage.blocks_used > 0
        thread.abort(job)
        engine.gate.set()
        async with asyncio.timeout(10):
            while thread.usage.blocks_used:
                await asyncio.sleep(0.001)

    run(lambda: engine, work)


def test_a_samples_end_is_told_while_others_go_on() -> None:
    async def work(thread: EngineThread) -> None:
        job, changed = submit(thread, "q", SamplingParams(max_tokens=900, n=2))
        news: list[News] = []
        async with asyncio.timeout(10):
            while not any(piece.completion for piece in news):
                await changed.wait()
                changed.clear()
                news += job.news()
            assert not job.over
            assert {piece.sample for piece in news if piece.completion} == {0}
            thread.abort(job)

    def make() -> ScriptedEngine:
        engine = ScriptedEngine(LM, lambda text, i: "x" * 2000 if i else "a")
        slow(engine, 0.01)  # else it may be done with all before the loop looks once
        return engine

    run(make, work)
