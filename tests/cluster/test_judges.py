"""Judges in actors: the verdicts of one in this process; a killed, a slow, a hung one are survived."""

import os
import signal
import threading
import time

import pytest

from ray_runs import handles_in
from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows():
    problems = draw_problems(parse_suite("sums:max_terms=2"), "train", 40, 0)
    texts = [f"The answer is {p.hidden['answer'] if i % 3 else 1}" for i, p in enumerate(problems)]
    return [(p.id, p, Reply(None, text)) for p, text in zip(problems, texts, strict=True)]


@pytest.fixture(scope="module")
def alone(rows):
    with Judge(1) as judge:
        return judge.score(rows)


def test_verdicts_are_the_same_and_both_judges_work(ray, rows, alone, tmp_path):
    with handles_in(ray, tmp_path, judges=2) as handles, handles.judge(1) as judges:
        assert judges.score(rows) == alone
        assert all(m.phase.startswith("judging") for m in judges.members.all)
        assert judges.score([]) == {}
    assert {v.outcome for v in alone.values()} == {Outcome.RIGHT, Outcome.WRONG}


def test_a_killed_judge_loses_no_verdict(ray, rows, alone, tmp_path):
    with handles_in(ray, tmp_path, judges=2) as handles, handles.judge(1) as judges:
        said = []
        judges.members.say = said.append
        os.kill(judges.members.all[0].last.pid, signal.SIGKILL)
        assert judges.score(rows) == alone
        assert judges.members.lost == 1
    assert "judge 1 of 2" in said[0]
    assert "signal 9 (SIGKILL)" in said[0]


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


def test_one_that_hangs_alone_is_replaced(ray, rows, alone, tmp_path):
    with handles_in(ray, tmp_path, judges=1, deadline_s=10.0) as handles, handles.judge(1) as judges:
        judges.score(rows)
        said = []
        judges.members.say = said.append
        os.kill(judges.members.all[0].last.pid, signal.SIGSTOP)
        assert judges.score(rows) == alone
    assert "judge 1 of 1" in said[0]
    assert "said nothing for" in said[0]
