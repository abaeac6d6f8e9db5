"""The judge gives every id its verdict, whatever a scorer does to its process."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoestring.errors import BadInput, ShoestringError
from shoestring.origin import Origin
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply

HERE = Path(__file__).parent
TIMEOUT_S = 0.7


def problem(scorer: str = "scorers:act") -> Problem:
    hidden = {"kind": "exact", "answer": "", "scorer": scorer, "row": {}}
    return Problem("file", "", "act", "Act.", hidden, Origin("test", "CC0-1.0"))


def asks(*answers: str) -> list[tuple[str, Problem, Reply]]:
    return [(f"id{i}", problem(), Reply(None, answer)) for i, answer in enumerate(answers)]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        with Judge(workers=2, timeout_s=TIMEOUT_S) as judge:
            yield judge


def test_each_misbehaviour_is_charged_to_its_own_id(judge: Judge) -> None:
    answers = [
        "ok",
        "raise",
        "ok",
        "die",
        "half",
        "hang",
        "ok",
        "spin",
        "print",
        "leave",
        "kill",
        "nan",
        "memory",
        "ok",
    ]
    verdicts = judge.score(asks(*answers))
    outcomes = {answer: verdicts[f"id{i}"].outcome for i, answer in enumerate(answers)}
    assert outcomes == {
        "ok": Outcome.RIGHT,
        "raise": Outcome.ERROR,
        "die": Outcome.ERROR,
        "half": Outcome.WRONG,
        "hang": Outcome.WRONG,
        "spin": Outcome.WRONG,
        "print": Outcome.RIGHT,
        "leave": Outcome.ERROR,
        "kill": Outcome.ERROR,
        "nan": Outcome.ERROR,
        "memory": Outcome.ERROR,
    }
    assert [v.outcome for v in verdicts.values()].count(Outcome.RIGHT) == 5
    assert verdicts["id1"].detail.startswith("RuntimeError: no idea")
    assert len(verdicts["id1"].detail) == 300
    assert verdicts["id3"].detail == "the scorer's process ended with exit code 7"
    assert verdicts["id4"].value == 0.0
    assert verdicts["id4"].parts == {"mark": 0.5}
    assert "twice" in verdicts["id5"].detail
    assert verdicts["id10"].detail == "the scorer's process was ended by signal 11"


def test_a_hang_that_does_not_come_back_is_judged(judge: Judge, tmp_path: Path) -> None:
    retried = judge.retried
    verdicts = judge.score(asks("ok", f"once {tmp_path / 'seen'}", "ok"))
    assert [v.outcome for v in verdicts.values()] == [Outcome.RIGHT] * 3
    assert judge.retried == retried + 1


def test_waiting_in_the_queue_is_not_counted(judge: Judge) -> None:
    answers = [f"sleep {TIMEOUT_S / 2}"] * 8  # four times the clock for each worker
    started = time.monotonic()
    verdicts = judge.score(asks(*answers))
    assert time.monotonic() - started > 1.5 * TIMEOUT_S
    assert [v.outcome for v in verdicts.values()] == [Outcome.RIGHT] * 8


def test_verdicts_go_by_id_and_ids_must_differ(judge: Judge) -> None:
    verdicts = judge.score(asks("half", "ok", "raise", "ok")[::-1])
    assert list(verdicts) == ["id3", "id2", "id1", "id0"]
    assert verdicts["id0"].outcome is Outcome.WRONG
    assert verdicts["id2"].outcome is Outcome.ERROR
    assert judge.score([]) == {}
    with pytest.raises(AssertionError, match="ids must differ"):
        judge.score([*asks("ok"), *asks("ok")])


def test_from_threads_and_from_asyncio(judge: Judge) -> None:
    results: dict[int, list[Outcome]] = {}

    def work(number: int) -> None:
        answers = ["ok", "half", "raise"][number:]
        results[number] = [v.outcome for v in judge.score(asks(*answers)).values()]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == [Outcome.RIGHT, Outcome.WRONG, Outcome.ERROR]
    assert results[2] == [Outcome.ERROR]

    async def both() -> list[Outcome]:
        direct = judge.score(asks("ok"))
        aside = await asyncio.to_thread(judge.score, asks("hang"))
        return [direct["id0"].outcome, aside["id0"].outcome]

    assert asyncio.run(both()) == [Outcome.RIGHT, Outcome.WRONG]


def test_a_worker_has_no_torch(judge: Judge) -> None:
    assert judge.score(asks("torch"))["id0"].outcome is Outcome.WRONG


def test_a_scorer_that_cannot_be_loaded_is_bad_input(judge: Judge) -> None:
    for scorer, words in (("nowhere:act", "can't be imported"), ("scorers:nothing", "no function 'nothing'")):
        with pytest.raises(BadInput, match=words):
            judge.score([("a", problem(scorer), Reply(None, "ok"))])
    assert judge.score(asks("ok"))["id0"].outcome is Outcome.RIGHT


def test_256_simple_replies_are_fast(judge: Judge) -> None:
    suite = parse_suite("sums")
    problems = draw_problems(suite, "train", 256, seed=0)
    replies = [(p.id, p, Reply(None, str(p.hidden["answer"] + i % 2))) for i, p in enumerate(problems)]
    judge.score(replies[:4])
    started = time.monotonic()
    verdicts = judge.score(replies)
    assert time.monotonic() - started < 1.0  # about 0.03 s on an idle machine
    assert [verdicts[p.id].value for p in problems] == [1.0 - i % 2 for i in range(256)]


def test_lenient_scores_come_through_the_pool(judge: Judge) -> None:
    (drawn,) = draw_problems(parse_suite("sums"), "train", 1, seed=0)
    reply = Reply(f"I think {drawn.hidden['answer']}", "")
    assert judge.score([("a", drawn, reply)])["a"].outcome is Outcome.UNPARSED
    assert judge.score([("a", drawn, reply)], lenient=True)["a"].outcome is Outcome.RIGHT


def test_close_ends_every_process_even_in_the_middle_of_work() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        judge = Judge(workers=1, timeout_s=60)
        pid = int(judge.score(asks("pid"))["id0"].detail.split()[1])
        failed = []

        def work() -> None:
            try:
                judge.score(asks("hang"))
            except ShoestringError as error:
                failed.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.3)
        judge.close()
        thread.join(5)
    assert failed == ["the judge is closed"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ShoestringError, match="closed"):
        judge.score(asks("ok"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"])
def test_no_process_outlives_the_interpreter(ending: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, sys
            sys.path[:0] = [{str(HERE)!r}]
            from test_judge import asks
            from shoestring.tasks.judge import Judge
            judge = Judge(workers=1, timeout_s=60)
            print(judge.score(asks("pid"))["id0"].detail.split()[1], flush=True)
            {ending}
        """)
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    while time.monotonic() - started < 30:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"worker {pid} is still there")
