"""Why rewards are zero, one class a reply."""

import dataclasses

import pytest

from groups import group
from shoestring.rl.explain import ADVICE, SAMPLED, Why, explain
from shoestring.rl.rollout import Group
from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def with_replies(*said: tuple[Reply, Outcome]) -> Group:
    """A group of one real problem, "3 + 4"-like, whose replies earned nothing."""
    (problem,) = draw_problems(parse_suite("sums:max_terms=2,max_digits=1"), "train", 1, 0)
    whole = group([0.0] * len(said))
    rollouts = [
        dataclasses.replace(r, problem=problem, reply=reply, verdict=Verdict(outcome, 0.0))
        for r, (reply, outcome) in zip(whole.rollouts, said, strict=True)
    ]
    return Group(problem, "sums", rollouts)


def gold() -> int:
    return draw_problems(parse_suite("sums:max_terms=2,max_digits=1"), "train", 1, 0)[0].hidden["answer"]


@pytest.mark.parametrize(
    ("reply", "outcome", "why"),
    [
        (Reply("so 3", "", cut=True), Outcome.UNPARSED, Why.CUT),
        (Reply("so 3", "1", cut=True), Outcome.WRONG, Why.CUT),
        (Reply("so 3", ""), Outcome.UNPARSED, Why.UNCLOSED),
        (Reply(None, " \n"), Outcome.UNPARSED, Why.EMPTY),
        (Reply(None, "I don't know."), Outcome.UNPARSED, Why.UNREAD),
        (Reply(None, "The answer is 1000."), Outcome.WRONG, Why.OTHER),
        (Reply(None, "The answer is 5."), Outcome.TIMEOUT, Why.FAILED),
        (Reply(None, "The answer is 5."), Outcome.RIGHT, Why.UNPAID),
    ],
)
def test_each_class(judge, reply, outcome, why):
    found = explain([with_replies((reply, outcome))], judge)
    assert found.main is why
    assert (found.zero, found.total) == (1, 1)
    assert ADVICE[why] in found.lines()[1]


def test_a_strict_verifier_is_told_from_a_model_without_an_answer(judge):
    listed = Reply(None, f"It could be 90 or 91, and last {gold()}")
    found = explain([with_replies((listed, Outcome.WRONG))], judge)
    assert found.main is Why.KINDLY


def test_the_largest_class_leads_and_all_are_counted(judge):
    said = [(Reply(None, "The answer is 1000."), Outcome.WRONG)] * 2 + [
        (Reply("so", "", cut=True), Outcome.UNPARSED)
    ] * 3
    found = explain([with_replies(*said)], judge)
    assert found.counts == {Why.CUT: 3, Why.OTHER: 2}
    assert "5 of 5 rewards are zero" in found.lines()[0]


def test_many_are_sampled_and_paid_ones_are_not(judge):
    many = [group([0.0] * 40 + [1.0], name="a"), group([None, 1.0], name="b")]
    found = explain(many, judge)
    assert (found.zero, found.total) == (41, 43)
    assert sum(found.counts.values()) == SAMPLED


def test_nothing_is_zero(judge):
    found = explain([group([1.0, 1.0])], judge)
    assert found.main is None
    assert found.lines() == ["none of 2 rewards is zero"]
