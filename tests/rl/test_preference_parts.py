"""The part "preference" by hand: who gets one, what it does to rewards, and what is measured of it."""

import dataclasses
from typing import Any

import pytest

from groups import PROMPT, problem, rollout
from shoestring.engine.request import Completion, FinishReason
from shoestring.rl.measure import group_metrics, is_open, why_all_dead
from shoestring.rl.preference_parts import preference_metrics, preference_parts
from shoestring.rl.reward import make_groups, reward_of
from shoestring.rl.rollout import Asked, Group, Rollout
from shoestring.rl.settings import GRPOSettings, PreferenceSettings
from shoestring.settings import build
from shoestring.tasks.base import Outcome, Verdict
from shoestring.text.message import Reply
from tiny import tiny_lm

OPEN = Verdict(Outcome.OPEN, 0.0)
RIGHT = Verdict(Outcome.RIGHT, 1.0)
END = Completion([1, 2], [-1.0, -1.0], "raw", FinishReason.STOP, 0)


class Lengths:
    """Likes short answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, rows) -> dict[str, float]:
        self.asked += [messages[0]["content"] for _, messages, _ in rows]
        return {name: -float(len(reply.answer)) for name, _, reply in reversed(rows)}


def judged() -> Any:
    replies = [Reply(None, "a"), Reply(None, "bb")]
    return [
        (Asked(problem("o"), "chat", PROMPT, "0/o"), [(END, reply, OPEN) for reply in replies]),
        (Asked(problem("c"), "sums", PROMPT, "1/c"), [(END, reply, RIGHT) for reply in replies]),
    ]


def parts(step: int = 1, **changed):
    settings = PreferenceSettings(model="rm", **changed)
    return preference_parts(Lengths(), settings, judged(), step)  # type: ignore[arg-type]


def test_only_open_prompts_are_scored_unless_all_are_asked_for():
    some = {"0/o/0": -1.0, "0/o/1": -2.0}
    assert parts() == {"preference": some}
    assert parts(on="all") == {"preference": some | {"1/c/0": -1.0, "1/c/1": -2.0}}


def test_it_begins_at_its_step():
    assert parts(step=399, from_step=400) == {}
    assert parts(step=400, from_step=400) == parts()


def test_the_question_is_the_problems():
    likes = Lengths()
    preference_parts(likes, PreferenceSettings(model="rm"), judged(), 1)  # type: ignore[arg-type]
    assert likes.asked == ["What is o?"] * 2


def paid(kind: str, extra: Any) -> list[Group]:
    values = {"model": "m", "suites": ["sums"], "steps": 1, "reward": kind}
    values["preference"] = {"model": "rm", "weight": 0.5}
    settings = build(GRPOSettings, values, "grpo")
    return make_groups(judged(), settings.rule(), tiny_lm().template, extra=extra)


def test_a_group_is_live_where_preferences_differ():
    open_group, checked = paid("task", parts())
    assert open_group.rewards == [-0.5, -1.0]
    assert open_group.live
    assert [r.parts["preference"] for r in open_group.rollouts] == [-1.0, -2.0]
    assert checked.rewards == [1.0, 1.0]
    assert not checked.live
    assert [g.rewards for g in paid("task", {})] == [[0.0, 0.0], [1.0, 1.0]]


def test_on_all_it_is_added_to_the_tasks_reward():
    assert paid("task", parts(on="all"))[1].rewards == [0.5, 0.0]


@pytest.mark.parametrize("kind", ["format", "random"])
def test_controls_are_blind_to_it(kind):
    with_it, without = paid(kind, parts(on="all")), paid(kind, {})
    assert [g.rewards for g in with_it] == [g.rewards for g in without]


def test_an_open_answer_has_a_form_where_it_has_words():
    assert reward_of("format", OPEN, Reply(None, "Hello."), "wrong", 0, "r") == 1.0
    assert reward_of("format", OPEN, Reply(None, "  "), "wrong", 0, "r") == 0.0
    assert reward_of("task", OPEN, Reply(None, "Hello."), "wrong", 0, "r") == 0.0


def scored(outcome: Outcome, preference: float, length: int = 2) -> Rollout:
    made = rollout(float(outcome is Outcome.RIGHT), length, outcome=outcome)
    return dataclasses.replace(made, parts={"preference": preference})


def test_metrics_by_hand():
    right, wrong = Outcome.RIGHT, Outcome.WRONG
    checked = Group(problem(), "sums", [scored(right, 1.0, 2), scored(wrong, 3.0, 4), scored(wrong, 2.0, 3)])
    talk = Group(problem(), "chat", [scored(Outcome.OPEN, 0.0, 1)])
    found = preference_metrics([checked, talk], too_long=3)
    assert found == pytest.approx(
        {
            "preference/mean": 1.5,
            # of (1, 3, 2) with (1, 0, 0): -1 / sqrt(2 * 2 / 3)
            "preference/corr_correct": -((3 / 4) ** 0.5),
            # of (1, 3, 2, 0) with (2, 4, 3, 1)
            "preference/corr_length": 1.0,
            "preference/too_long": 3.0,
        }
    )
    assert preference_metrics([Group(problem(), "sums", [rollout(1.0)])], 0) == {}
    alike = preference_metrics([Group(problem(), "chat", [scored(Outcome.OPEN, 1.0)] * 2)], 0)
    assert alike == {"preference/mean": 1.0, "preference/too_long": 0.0}


def test_open_samples_are_counted_in_no_score():
    checked = Group(problem(), "sums", [rollout(1.0, 2), rollout(0.0, 4, outcome=Outcome.UNPARSED)])
    talk = Group(problem(), "chat", [rollout(0.0, 9, outcome=Outcome.OPEN)] * 2)
    found, alone = group_metrics([checked], [talk]), group_metrics([checked], [])
    for name in ("solve_rate", "unparsed_ratio"):
        assert found[name] == alone[name] == 0.5
    for name in ("completions/mean_length_right", "completions/mean_length_wrong"):
        assert found[name] == alone[name]
    assert found["open_ratio"] == 0.5
    assert "open_ratio" not in alone
    only = group_metrics([talk], [])
    assert "solve_rate" not in only
    assert "unparsed_ratio" not in only
    assert only["open_ratio"] == 1.0


def test_dead_open_groups_are_not_called_right():
    talk = Group(problem(), "chat", [rollout(3.0, outcome=Outcome.OPEN)] * 2)
    assert is_open(talk)
    assert group_metrics([], [talk])["groups/dead_all_right"] == 0
    assert "set preference" in why_all_dead([talk])
    mixed = why_all_dead([talk, Group(problem(), "sums", [rollout(1.0)] * 2)])
    assert "100% right" in mixed
