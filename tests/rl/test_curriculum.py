"""What is asked next, and what is kept back."""

import json

import pytest

from shoestring.errors import BadInput
from shoestring.rl.curriculum import AGAIN, PassRates
from shoestring.rl.held_out import HeldOut, HeldOutSettings
from shoestring.rl.streams import Streams
from shoestring.settings import build
from shoestring.tasks.draw import draw_reserved
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from tiny import Scripted, tiny_lm

SUITE = "sums:max_terms=2,max_digits=1"  # 45 problems: they come round


def test_problems_with_nothing_to_teach_are_passed_over():
    rates = PassRates(0)
    rates.saw("easy", False, 1.0)
    rates.saw("hard", False, 0.0)
    rates.saw("live", True, 1.0)  # mixed by another part of the reward than being right
    again = {
        name: sum(rates.worth(name, i, 0) for i in range(2000)) for name in ("easy", "hard", "live", "new")
    }
    assert again["live"] == again["new"] == 2000
    assert all(abs(again[name] / 2000 - AGAIN) < 0.05 for name in ("easy", "hard"))
    assert rates.passed_over == 4000 - again["easy"] - again["hard"]


def test_a_problem_that_comes_alive_is_asked_again():
    rates = PassRates(0)
    rates.saw("p", False, 0.0)
    rates.saw("p", True, 0.5)
    assert all(rates.worth("p", i, 0) for i in range(50))


def test_streams_prefer_live_problems_and_resume():
    lm = tiny_lm()
    own = Streams([SUITE], 0)
    dead = {a.problem.id for a in own.take(400, lm, None, 1)}
    kept = sorted(dead)[::4]
    for name in dead:
        own.rates.saw(name, name in kept, 0.5 if name in kept else 1.0)
    rest = Streams([SUITE], 0)
    rest.load_state_dict(json.loads(json.dumps(own.state_dict())))
    asked = [a.problem.id for a in own.take(200, lm, None, 1)]
    assert [a.problem.id for a in rest.take(200, lm, None, 1)] == asked
    assert sum(name in kept for name in asked) / 200 > 0.45  # a quarter of the problems


def test_reserved_problems_are_never_trained_on():
    lm = tiny_lm()
    reserved = {p.id for p in draw_reserved(parse_suite(SUITE), 100, 0)}
    assert 0 < len(reserved) < 10
    asked = {a.problem.id for a in Streams([SUITE], 0, reserve=True).take(400, lm, None, 1)}
    assert not asked & reserved
    assert reserved <= {a.problem.id for a in Streams([SUITE], 0).take(400, lm, None, 1)}


def held_out(**changed) -> HeldOut:
    settings = build(HeldOutSettings, {"every": 5, "n": 6} | changed, "held_out")
    return HeldOut(settings, [parse_suite("sums"), parse_suite("equations")], 0, 64, None)


def test_the_watch_counts_and_remembers_the_best():
    lm, own = tiny_lm(), held_out()
    golds = {p.prompt: p.hidden["answer"] for _, p in own.problems}
    assert len(golds) == 6

    def says(right: int) -> Scripted:
        paid = list(golds)[:right]
        return Scripted(
            lm, lambda text, sample: str(next((golds[p] for p in paid if p in text), "I can't say"))
        )

    with Judge(workers=1) as judge:
        rates = [
            own.measure(lm, says(right), judge, step)["held_out/solve_rate"]
            for step, right in ((5, 1), (10, 3), (15, 3), (20, 2))
        ]
    assert rates == [1 / 6, 0.5, 0.5, 1 / 3]
    assert (own.best, own.best_step) == (0.5, 10)
    assert [own.due(step, 18) for step in (4, 5, 18)] == [False, True, True]
    assert not held_out(every=0).due(18, 18)


def test_nothing_to_keep_back_is_refused():
    settings = build(HeldOutSettings, {"every": 1}, "held_out")
    with pytest.raises(BadInput, match="held_out"):
        HeldOut(settings, [parse_suite("sums:max_terms=2,max_value=1")], 0, 8, None)
