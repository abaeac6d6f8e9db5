"""From verdicts to rewards, live groups and counts."""

from collections import Counter

import pytest

from groups import PROMPT, group, problem, rollout
from shoestring.engine.request import Completion, FinishReason
from shoestring.rl.curriculum import Curriculum
from shoestring.rl.measure import group_metrics, rollout_rows, wasted_tokens, why_all_dead
from shoestring.rl.reward import Reward, make_groups, reward_of
from shoestring.rl.rollout import Asked, Group, judge_groups
from shoestring.tasks.base import Outcome, Verdict
from shoestring.text.message import Reply
from tiny import tiny_lm

WHOLE, CUT = Reply(None, "1"), Reply(None, "", cut=True)


@pytest.mark.parametrize(
    ("kind", "outcome", "reply", "truncated", "reward"),
    [
        ("task", Outcome.RIGHT, WHOLE, "wrong", 1.0),
        ("task", Outcome.WRONG, WHOLE, "wrong", 0.0),
        ("task", Outcome.UNPARSED, WHOLE, "wrong", 0.0),
        ("task", Outcome.RIGHT, CUT, "wrong", 0.0),  # a cut answer is wrong even where it reads right
        ("task", Outcome.RIGHT, CUT, "left_out", None),
        ("task", Outcome.TIMEOUT, WHOLE, "wrong", None),
        ("task", Outcome.ERROR, WHOLE, "wrong", None),
        ("task", Outcome.ERROR, CUT, "wrong", None),
        ("format", Outcome.RIGHT, WHOLE, "wrong", 1.0),
        ("format", Outcome.WRONG, WHOLE, "wrong", 1.0),
        ("format", Outcome.UNPARSED, WHOLE, "wrong", 0.0),
        ("format", Outcome.WRONG, CUT, "wrong", 0.0),
        ("format", Outcome.TIMEOUT, WHOLE, "wrong", None),
        ("random", Outcome.TIMEOUT, WHOLE, "wrong", None),
        ("random", Outcome.RIGHT, CUT, "left_out", None),
    ],
)
def test_rewards(kind, outcome, reply, truncated, reward):
    verdict = Verdict(outcome, float(outcome is Outcome.RIGHT))
    assert reward_of(kind, verdict, reply, truncated, seed=0, row_id="r") == reward


def test_partial_credit_is_the_verdicts():
    assert reward_of("task", Verdict(Outcome.WRONG, 0.25), WHOLE, "wrong", 0, "r") == 0.25


def test_the_coin_is_fair_keyed_and_blind():
    def coins(seed: int, outcome: Outcome) -> list[float | None]:
        verdict = Verdict(outcome, float(outcome is Outcome.RIGHT))
        return [reward_of("random", verdict, WHOLE, "wrong", seed, f"{i}/0") for i in range(2000)]

    one = coins(0, Outcome.RIGHT)
    assert set(one) == {0.0, 1.0}
    assert abs(sum(r or 0 for r in one) - 1000) < 90  # 4 standard deviations
    assert coins(0, Outcome.RIGHT) == one == coins(0, Outcome.WRONG)
    assert coins(1, Outcome.RIGHT) != one


@pytest.mark.parametrize(
    ("rewards", "live"),
    [
        ([0.0, 1.0], True),
        ([1.0, 1.0], False),
        ([0.3, 0.1 + 0.2], False),  # equal but for rounding
        ([0.5, 0.5 + 1e-9], False),
        ([0.5, 0.501], True),
        ([None, 1.0, 0.0], True),
        ([None, 1.0], False),
        ([None, None], False),
    ],
)
def test_a_group_is_live_where_rewards_differ(rewards, live):
    assert group(rewards).live is live


class BackwardJudge:
    """Right where the answer is the problem's name; gives its verdicts in another order than it was asked."""

    def score(self, rows):
        outcome = {True: Verdict(Outcome.RIGHT, 1.0), False: Verdict(Outcome.WRONG, 0.0)}
        return {name: outcome[reply.answer == asked.key] for name, asked, reply in reversed(rows)}


def test_verdicts_are_matched_by_id():
    lm = tiny_lm()
    end = lm.template.stop_ids[0]

    def completion(text: str, cut: bool = False) -> Completion:
        ids = lm.tokenizer.encode(text) + ([] if cut else [end])
        reason = FinishReason.LENGTH if cut else FinishReason.STOP
        return Completion(ids, [-1.0] * len(ids), "raw", reason, 3)

    asked = [Asked(problem(name), "sums", PROMPT, f"{i}/{name}") for i, name in enumerate("abc")]
    said = [["a", "x"], ["b", "b"], ["a", "c"]]
    completions = [[completion(t) for t in texts] for texts in said]
    completions[2][1] = completion("c", cut=True)
    judged = judge_groups(BackwardJudge(), lm.template, asked, completions)  # type: ignore[arg-type]
    groups = make_groups(judged, Reward(), lm.template)
    assert [g.rewards for g in groups] == [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    assert [g.live for g in groups] == [True, False, False]
    assert [r.sequence.row_id for r in groups[1].rollouts] == ["1/b/0", "1/b/1"]
    assert groups[0].rollouts[0].sequence.version == 3
    rows = rollout_rows(groups, lm)
    assert [r["outcome"] for r in rows] == ["right", "wrong", "right", "right", "wrong", "right"]
    assert rows[5] | {"cut": True, "reward": 0.0, "completion": "c", "tokens": 1, "live": False} == rows[5]


def test_metrics_by_hand():
    cut = rollout(0.0, 8, cut=True, outcome=Outcome.UNPARSED)
    live = Group(problem(), "sums", [rollout(1.0, 2), rollout(0.0, 4), cut])
    dead = group([1.0, 1.0], [3, 3])
    failed = Group(problem(), "sums", [rollout(None, 5, outcome=Outcome.TIMEOUT)])
    found = group_metrics([live], [dead, failed])
    assert found == pytest.approx(
        {
            "reward": 3 / 5,
            "reward_std": ((2 / 9) ** 0.5 + 0) / 3,  # of 1, 0, 0; of 1, 1; of none
            "solve_rate": 3 / 6,
            "frac_reward_zero_std": 2 / 3,
            "groups/live": 1,
            "groups/dead_all_right": 1,
            "groups/dead_other": 1,
            "completions/mean_length": 25 / 6,
            "completions/min_length": 2,
            "completions/max_length": 8,
            "completions/mean_terminated_length": 17 / 5,
            "completions/mean_length_right": 8 / 3,
            "completions/mean_length_wrong": 17 / 3,
            "completions/clipped_ratio": 1 / 6,
            "unparsed_ratio": 1 / 6,
            "gamed_ratio": 0,
            "left_out": 1,
            "num_tokens": 25,
        }
    )


def test_wasted_tokens_are_counted_once():
    live = Group(problem(), "sums", [rollout(1.0, 2), rollout(0.0, 8, cut=True)])
    dead = Group(problem(), "sums", [rollout(0.0, 8, cut=True), rollout(0.0, 3)])
    assert wasted_tokens([live], [dead]) == {"dead_groups": 11, "cut": 8}


@pytest.mark.parametrize(
    ("rollouts", "words"),
    [
        ([rollout(1.0)] * 2, ["100% right", "harder level"]),
        ([rollout(0.0, cut=True)] * 2, ["100% truncated", "max_completion_tokens"]),
        ([rollout(None, outcome=Outcome.ERROR)] * 2, ["100% not scored", "look at the scorer"]),
        ([rollout(0.0, outcome=Outcome.UNPARSED)] * 2, ["100% without an answer", "easier level"]),
    ],
)
def test_why_nothing_can_be_learnt(rollouts, words):
    said = why_all_dead([Group(problem(), "sums", rollouts)])
    assert "\n" not in said
    assert all(word in said for word in ["all 1 groups had equal rewards", *words])


def test_the_curriculum_draws_where_groups_are_mixed():
    curriculum = Curriculum(["easy", "mixed", "hard"], seed=1)
    assert set(Counter(curriculum.choose(i) for i in range(300)).values()) <= set(
        range(70, 131)
    )  # even at first
    for _ in range(40):
        for suite in curriculum.suites:
            curriculum.saw(suite, suite == "mixed")
    drawn = Counter(curriculum.choose(i) for i in range(1200))
    # weights 0.1, 1.1, 0.1 of 1.3
    assert abs(drawn[1] - 1200 * 1.1 / 1.3) < 60
    assert all(60 < drawn[i] < 130 for i in (0, 2))  # the others are still asked now and then
    again = Curriculum(["easy", "mixed", "hard"], seed=1)
    again.load_state_dict(curriculum.state_dict())
    assert [again.choose(i) for i in range(50)] == [curriculum.choose(i) for i in range(50)]
    assert Curriculum(["only"], 0).choose(3) == 0


def test_the_running_share_by_hand():
    curriculum = Curriculum(["a", "b"], seed=0)
    curriculum.saw("a", True)
    curriculum.saw("a", True)
    curriculum.saw("b", False)
    # 0.9 * (0.9 * 0.5 + 0.1) + 0.1 and 0.9 * 0.5
    assert curriculum.state_dict() == pytest.approx({"a": 0.595, "b": 0.45})
