from shoestring.rl.streams import Streams
from tiny import tiny_lm

EARLY, LATE = ["sums", "letters"], ["chat"]


def suites(streams: Streams, steps: range) -> list[list[str]]:
    lm = tiny_lm()
    return [[asked.suite for asked in streams.take(24, lm, None, step)] for step in steps]


def test_late_suites_join_at_their_step():
    streams = Streams(EARLY, 0, LATE, late_from=3)
    drawn = suites(streams, range(1, 6))
    assert all("chat" not in step for step in drawn[:2])
    assert all("chat" in step for step in drawn[2:])
    assert {"sums", "letters"} <= set(drawn[2])


def test_until_then_nothing_is_changed():
    alone, joined = Streams(EARLY, 0), Streams(EARLY, 0, LATE, late_from=3)
    lm = tiny_lm()
    for step in (1, 2):
        one, other = (s.take(8, lm, None, step) for s in (alone, joined))
        assert [(a.name, a.prompt) for a in one] == [(a.name, a.prompt) for a in other]


def test_a_resumed_stream_draws_the_same():
    whole = Streams(EARLY, 0, LATE, late_from=2)
    names = [asked.name for step in (1, 2, 3) for asked in whole.take(8, tiny_lm(), None, step)]
    first, second = (Streams(EARLY, 0, LATE, late_from=2) for _ in range(2))
    again = [asked.name for asked in first.take(8, tiny_lm(), None, 1)]
    second.load_state_dict(first.state_dict())
    second.curriculum.load_state_dict(first.curriculum.state_dict())
    again += [asked.name for step in (2, 3) for asked in second.take(8, tiny_lm(), None, step)]
    assert again == names
