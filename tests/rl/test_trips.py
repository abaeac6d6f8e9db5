"""Trip wires on hand-written metrics."""

import json
import math

from shoestring.rl.trips import TripSettings, TripWires
from shoestring.settings import build


def wires(**changed) -> TripWires:
    return TripWires(build(TripSettings, changed, "trips"))


def row(drift=0.001, entropy=1.0, length=50.0, **more) -> dict[str, float]:
    return {"drift": drift, "entropy": entropy, "completions/mean_length": length, **more}


def names(found) -> list[str]:
    return [t.name for t in found]


def test_a_steady_run_trips_nothing():
    own = wires()
    for step in range(30):
        metrics = row(entropy=1.0 - step / 60, length=50 + step, **{"held_out/solve_rate": 0.3 + step / 100})
        assert own.look(metrics) == []


def test_each_wire():
    start = [row(), row(), row()]
    cases = {
        "drift": row(drift=1.5),
        "kl": row(kl=2.0),
        "entropy_low": row(entropy=0.04),
        "entropy_high": row(entropy=3.5),
        "length_low": row(length=9.0),
        "length_high": row(length=251.0),
    }
    for name, metrics in cases.items():
        own = wires()
        assert [own.look(r) for r in start] == [[], [], []]
        assert names(own.look(metrics)) == [name]


def test_what_is_not_finite_is_over_the_limit():
    assert names(wires().look(row(drift=math.nan))) == ["drift"]
    assert names(wires().look(row(drift=math.inf))) == ["drift"]


def test_the_held_out_score_is_held_against_its_best():
    own = wires()
    rates = [0.3, 0.5, 0.45, 0.39]
    assert [names(own.look(row(**{"held_out/solve_rate": r}))) for r in rates] == [[], [], [], ["held_out"]]


def test_a_warning_is_given_once_until_the_value_comes_back():
    own = wires()
    values = [1, 1, 1, 9, 9, 1, 9]
    assert [bool(own.look(row(entropy=v))) for v in values] == [False] * 3 + [True, False, False, True]


def test_an_action_is_repeated_and_off_is_off():
    own = wires(entropy_high={"limit": 3.0, "action": "stop"}, drift={"limit": 0.1, "action": "off"})
    for _ in range(3):
        own.look(row())
    assert [names(own.look(row(entropy=9.0, drift=5.0))) for _ in range(2)] == [["entropy_high"]] * 2


def test_state_survives():
    whole, half = wires(), wires()
    rows = [row(), row(), row(), row(entropy=9.0), row(entropy=9.0, **{"held_out/solve_rate": 0.5})]
    for r in rows[:4]:
        whole.look(r)
        half.look(r)
    rest = wires()
    rest.load_state_dict(json.loads(json.dumps(half.state_dict())))
    for r in [*rows[4:], row(**{"held_out/solve_rate": 0.1})]:
        assert names(rest.look(r)) == names(whole.look(r))
