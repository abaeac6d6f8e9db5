"""Judges in actors: the verdicts of one in this process; a killed, a slow, a hung one are survived."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from ray_runs import handles_in, workers
from shoestring.cluster.judges import Judges, Scored
from shoestring.cluster.look import Look
from shoestring.cluster.members import Members
from shoestring.errors import ShoestringError
from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply


@pytest.fixture(scope="module")
def rows():
    problems = draw_problems(parse_suite("sums:max_terms=2"), "train", 40, 0)
    texts = [f"The answer is {p.hidden['answer'] if i % 3 else 1}" for i, p in enumerate(problems)]
    return [(p.id, p, Reply(None, text)) for p, text in zip(problems, texts, strict=True)]


@pytest.fixture(scope="module")
def alone(rows):
    with Judge(1) as judge:
        return judge.score(rows)


@pytest.mark.slow
def test_verdicts_are_the_same_and_both_judges_work(ray, rows, alone, tmp_path):
    with handles_in(ray, tmp_path, judges=2) as handles, handles.judge(1) as judges:
        assert judges.score(rows) == alone
        assert all(m.phase.startswith("judging") for m in judges.members.all)
        assert judges.score([]) == {}
    assert {v.outcome for v in alone.values()} == {Outcome.RIGHT, Outcome.WRONG}


@pytest.mark.slow
def test_a_killed_judge_loses_no_verdict(ray, rows, alone, tmp_path):
    with handles_in(ray, tmp_path, judges=2) as handles, handles.judge(1) as judges:
        said = []
        judges.members.say = said.append
        os.kill(judges.members.all[0].last.pid, signal.SIGKILL)
        assert judges.score(rows) == alone
        assert judges.members.lost == 1
    assert "judge 1 of 2" in said[0]
    assert "signal 9 (SIGKILL)" in said[0]


@pytest.mark.slow
def test_what_one_is_slow_with_another_is_asked_too(ray, rows, alone, tmp_path):
    with handles_in(ray, tmp_path, judges=2, deadline_s=60.0) as handles, handles.judge(1) as judges:
        judges.score(rows)
        slow = judges.members.all[0].last.pid
        os.kill(slow, signal.SIGSTOP)
        woken = threading.Timer(40.0, os.kill, (slow, signal.SIGCONT))
        woken.start()
        began = time.monotonic()
        assert judges.score(rows) == alone
        woken.cancel()
        assert judges.asked_twice >= 1
        assert judges.members.lost == 0
        assert time.monotonic() - began < 35


@pytest.mark.slow
def test_one_that_hangs_alone_is_replaced(ray, rows, alone, tmp_path):
    with handles_in(ray, tmp_path, judges=1, deadline_s=10.0) as handles, handles.judge(1) as judges:
        judges.score(rows)
        said = []
        judges.members.say = said.append
        os.kill(judges.members.all[0].last.pid, signal.SIGSTOP)
        assert judges.score(rows) == alone
    assert "judge 1 of 1" in said[0]
    assert "said nothing for" in said[0]


LOOK = Look(4711, "nowhere", "n", "judging", 2**30, 2**31)


def fake_judges(fake_ray, folder, score, count=2, **given):
    """Judges whose n-th actor, by when it was started, answers by `score(n, rows)`."""

    def works(number):
        return SimpleNamespace(score=lambda rows, lenient: score(number, rows))

    ray = fake_ray(works)
    asked = workers(**{"judges": count, "deadline_s": 0.6} | given)
    members = Members(ray, "judge", count, asked, 1.0, 0.0, (object, ()), lambda _: None, folder)
    judges = Judges(members, 1)
    said = []
    members.say = said.append
    return ray, judges, said


def judged(rows):
    return Scored({name: name for name, _, _ in rows}, 0, 0, LOOK)


@pytest.fixture
def some():
    return [(f"r{i}", SimpleNamespace(hidden={}), None) for i in range(8)]


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr("shoestring.cluster.members.STACK_S", 0.05)
    monkeypatch.setattr("shoestring.cluster.judges.POLL_S", 0.02)


def test_one_that_hangs_beside_others_is_replaced_and_asked_no_more(fake_ray, after, brief, some, tmp_path):
    """Another is asked too and its verdict counts, so `score` comes back long before the deadline; who hangs
    has a clock that goes on."""
    asked = []

    def score(number, rows):
        asked.append(number)
        return after(float("inf")) if number == 0 else judged(rows)

    ray, judges, said = fake_judges(fake_ray, tmp_path, score)
    assert judges.score(some) == {name: name for name, _, _ in some}
    assert judges.asked_twice == 1
    assert said == []
    judges.score(some)
    assert asked.count(0) == 1, "it was given more while it hung"
    time.sleep(0.6)
    judges.score(some)
    assert "judge 1 of 2" in said[0]
    assert "said nothing for 0." in said[0]
    assert ray.actors[0].killed
    judges.score(some)
    assert judges.members.lost == 1
    assert 2 in asked  # who was started in its place


def test_a_judge_that_starts_slowly_costs_no_other_its_life(fake_ray, after, brief, some, tmp_path):
    """The first hangs and another is started in its place, for longer than a judge may be silent."""

    def score(number, rows):
        return after(float("inf")) if number == 0 else after(0.3, judged(rows))

    ray, judges, said = fake_judges(fake_ray, tmp_path, score)
    ray.works = lambda number: SimpleNamespace(
        score=lambda rows, lenient: score(number, rows), look=lambda: after(1.5, LOOK)
    )
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        judges.score(some)
    assert [line.split(" (")[0] for line in said] == ["judge 1 of 2"]
    assert not ray.actors[1].killed
    assert len(judges.members.all) == 2
    assert judges._starting == {}


def test_verdicts_of_a_score_that_was_left_are_not_those_of_the_next(fake_ray, after, brief, some, tmp_path):
    late = after(0.2)

    def score(number, rows):
        if rows[0][0] == "gone":
            late.answer = judged(rows)
            return late
        return judged(rows)

    _, judges, _ = fake_judges(fake_ray, tmp_path, score, count=1)

    def stop(*_):
        raise KeyboardInterrupt

    hear = judges._look_after_the_late
    judges._look_after_the_late = stop
    with pytest.raises(KeyboardInterrupt):
        judges.score([("gone", SimpleNamespace(hidden={}), None)])
    judges._look_after_the_late = hear
    assert judges.score(some) == {name: name for name, _, _ in some}


def test_where_no_judge_is_left_every_call_says_so(fake_ray, brief, some, tmp_path):
    _, judges, _ = fake_judges(fake_ray, tmp_path, lambda *_: None, count=1)
    judges.members.drop(judges.members.all[0])
    with pytest.raises(ShoestringError, match="no judge is left"):
        judges.score(some)
