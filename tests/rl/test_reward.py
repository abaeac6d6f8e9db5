"""From verdicts to rewards, live groups and counts."""

import dataclasses
from collections import Counter
from typing import Any

import pytest

from groups import PROMPT, group, problem, rollout
from shoestring.engine.request import Completion, FinishReason
from shoestring.errors import BadInput
from shoestring.rl.curriculum import Curriculum
from shoestring.rl.measure import group_metrics, part_metrics, wasted_tokens, why_all_dead
from shoestring.rl.reward import Reward, Said, make_groups, reward_of
from shoestring.rl.reward_settings import ShapeSettings
from shoestring.rl.rollout import Asked, Group, Rollout, judge_groups
from shoestring.rl.shuffle import other_problems, shuffled_verdicts
from shoestring.rl.store import rollout_rows
from shoestring.settings import build
from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite
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
    rows = rollout_rows(3, groups, lm, "none", seed=0)
    assert [r["outcome"] for r in rows] == ["right", "wrong", "right", "right", "wrong", "right"]
    assert [r["finish_reason"] for r in rows] == ["stop"] * 5 + ["length"]
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
            "verifier/disagreed": 0,
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


RIGHT, WRONG = Verdict(Outcome.RIGHT, 1.0), Verdict(Outcome.WRONG, 0.0)
# thought in Chinese and English (4 of 6 words), well formed, 90 of 100 tokens
SAID = Said(
    "<think>\n我们相加 two numbers\n</think>\n22", False, Reply("我们相加 two numbers", "22"), 90, "zh"
)


def shape(**parts) -> ShapeSettings:
    return build(ShapeSettings, parts, "shape")


@pytest.mark.parametrize(
    ("parts", "verdict", "reward"),
    [
        ({}, RIGHT, 1.0),
        ({"format": {"weight": 0.5}}, RIGHT, 1.5),
        ({"format": {"weight": 0.5}}, WRONG, 0.0),  # gated
        ({"format": {"weight": 0.5, "gate": "none"}}, WRONG, 0.5),
        ({"language": {"weight": 0.3}}, WRONG, 0.3 * 4 / 6),  # paid for every answer, as in R1
        ({"language": {"weight": 0.3, "gate": "correct"}}, WRONG, 0.0),
        ({"language": {"weight": 0.3, "target": "en"}}, WRONG, 0.3 * 2 / 6),
        ({"length": {"weight": 1.0, "cache": 20}}, RIGHT, 0.5),
        ({"length": {"weight": 1.0}}, WRONG, -0.5),  # a fifth of 100 is 20
        ({"repetition": {"weight": 0.25}}, RIGHT, 1.25),
        ({"measure": ["format", "language"]}, RIGHT, 1.0),
        ({"named": {"helpful": {"weight": 2.0}}}, RIGHT, 1.8),
        ({"named": {"helpful": {"weight": 2.0}}}, WRONG, 0.0),
        ({"named": {"helpful": {"weight": 2.0, "gate": "none"}}}, WRONG, 0.8),
        ({"named": {"other": {"weight": 2.0}}}, RIGHT, 1.0),  # nobody gave it
        ({"format": {"weight": 0.5}}, Verdict(Outcome.WRONG, 0.25), 0.25),  # partial credit opens no gate
    ],
)
def test_a_reward_is_the_verdict_and_weighed_parts(parts, verdict, reward):
    paid, _ = Reward(shape=shape(**parts), max_tokens=100).pay("r", SAID, verdict, named={"helpful": 0.4})
    assert paid == pytest.approx(reward)


def test_parts_are_kept_by_name():
    every = shape(format={"weight": 1}, measure=["language", "language_answer", "length", "repetition"])
    verdict = Verdict(Outcome.RIGHT, 1.0, {"style": 0.2, "task": 9.0, "format": 9.0})
    _, parts = Reward(shape=every, max_tokens=100).pay("r", SAID, verdict, named={"preference": 0.1})
    assert parts == pytest.approx(
        {
            "style": 0.2,
            "preference": 0.1,
            "format": 1.0,
            "language": 4 / 6,
            "language_answer": 1.0,
            "length": -0.5,
            "repetition": 1.0,
            "task": 1.0,  # not what the scorer calls so
        }
    )


def test_no_truth_leaks_into_a_control_through_a_gate():
    own = shape(format={"weight": 0.5})
    for kind in ("random", "shuffled", "format"):
        paid = {
            outcome.outcome: [
                Reward(kind, seed=0, shape=own, max_tokens=100).pay(f"{i}", SAID, outcome, WRONG)[0]
                for i in range(50)
            ]
            for outcome in (RIGHT, WRONG)
        }
        assert paid[Outcome.RIGHT] == paid[Outcome.WRONG], kind
    reward, parts = Reward("shuffled", shape=own, max_tokens=100).pay("r", SAID, WRONG, RIGHT)
    assert (reward, parts["task"], parts["control"]) == (1.5, 0.0, 1.0)


def test_a_sample_that_is_left_out_has_no_reward_but_its_parts():
    timeout = Verdict(Outcome.TIMEOUT, 0.0)
    reward, parts = Reward(shape=shape(measure=["format"]), max_tokens=100).pay("r", SAID, timeout)
    assert (reward, parts) == (None, {"format": 1.0})
    assert Reward("shuffled").pay("r", SAID, RIGHT, timeout)[0] is None


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"format": {"wieght": 1}}, "did you mean 'weight'"),
        ({"fromat": {"weight": 1}}, "did you mean 'format'"),
        ({"format": {"weight": -1}}, "greater than or equal to 0"),
        ({"format": {"gate": "right"}}, "'correct' or 'none'"),
        ({"language": {"target": "klingon"}}, "language 'klingon' is not known"),
        ({"named": {"format": {"weight": 1}}}, "that name is taken"),
        ({"measure": ["lenght"]}, "measure"),
    ],
)
def test_shape_settings_are_strict(parts, said):
    with pytest.raises(BadInput, match=said):
        shape(**parts)


def asked_of(suite: str, n: int) -> list[Asked]:
    problems = draw_problems(parse_suite(suite), "train", n, 0)
    return [Asked(p, suite, PROMPT, f"{i}/{p.id}") for i, p in enumerate(problems)]


def test_shuffled_partners_are_others_of_the_same_suite():
    asked = [*asked_of("sums", 5), *asked_of("letters", 2), *asked_of("countdown", 1)]
    partners = other_problems(asked, 0)
    for item, other in zip(asked, partners, strict=True):
        assert other.family == item.problem.family
        assert other.key != item.problem.key
    assert len({p.key for p in partners[:5]}) == 5  # a rotation: every answer is used once
    assert [p.key for p in other_problems(asked, 0)] == [p.key for p in partners]
    others = [[p.key for p in other_problems(asked, seed)] for seed in range(1, 6)]
    assert any(keys != [p.key for p in partners] for keys in others)
    twins = [dataclasses.replace(asked[0], name=f"{i}") for i in range(2)]  # one problem twice: a fresh one
    assert all(p.key != asked[0].problem.key for p in other_problems(twins, 0))


def test_a_suite_of_one_problem_cant_be_shuffled(tmp_path):
    path = tmp_path / "one.jsonl"
    for i in range(100):
        path.write_text(f'{{"question": "{i}+2?", "answer": "4"}}\n')
        (only,) = parse_suite(str(path)).family.problems(parse_suite(str(path)).level)  # type: ignore[attr-defined]
        if not only.held_out:
            break
    with pytest.raises(BadInput, match="no second problem"):
        other_problems([Asked(only, str(path), PROMPT, "0/a")], 0)


def test_shuffled_answers_pay_and_the_true_verdict_stays():
    """A model that answers with its partner's answer is paid by the control and solves nothing."""
    lm, asked = tiny_lm(), asked_of("sums", 4)
    partners = other_problems(asked, 3)

    class Exact:
        def score(self, rows):
            return {n: RIGHT if r.answer == str(p.hidden["answer"]) else WRONG for n, p, r in rows}

    def completion(text: str) -> Completion:
        ids = [*lm.tokenizer.encode(text), lm.template.stop_ids[0]]
        return Completion(ids, [-1.0] * len(ids), "raw", FinishReason.STOP, 0)

    completions = [
        [completion(str(p.hidden["answer"])), completion(str(a.problem.hidden["answer"]))]
        for a, p in zip(asked, partners, strict=True)
    ]
    judge: Any = Exact()
    judged = judge_groups(judge, lm.template, asked, completions)
    groups = make_groups(judged, Reward("shuffled", seed=3), lm.template, shuffled_verdicts(judge, judged, 3))
    assert [g.rewards for g in groups] == [[1.0, 0.0]] * 4
    assert [[r.verdict.outcome for r in g.rollouts] for g in groups] == [[Outcome.WRONG, Outcome.RIGHT]] * 4
    found = group_metrics(groups, [])
    assert (found["solve_rate"], found["rewards/task/mean"], found["rewards/control/mean"]) == (0.5, 0.5, 0.5)
    assert found["rewards/control/corr"] == pytest.approx(-1.0)


def with_parts(right: bool, gamed: bool = False, **parts: float) -> Rollout:
    one = rollout(float(right))
    return dataclasses.replace(one, parts=parts, gamed=gamed)


def test_part_metrics_by_hand():
    rollouts = [
        with_parts(True, language=1.0, same=1.0),
        with_parts(True, language=0.8, same=1.0),
        with_parts(False, language=0.2, same=1.0, rare=0.5),
        with_parts(False, language=0.4, same=1.0),
    ]
    assert part_metrics(rollouts) == pytest.approx(
        {
            "rewards/language/mean": 0.6,
            "rewards/language/std": 0.1**0.5,  # of 0.4, 0.2, -0.4, -0.2
            "rewards/language/corr": 0.3 / 0.1**0.5,
            "language/mixed_ratio": 0.75,
            "rewards/same/mean": 1.0,
            "rewards/same/std": 0.0,
            "rewards/rare/mean": 0.5,
            "rewards/rare/std": 0.0,
            "rewards/rare/missing": 0.75,
        }
    )


def test_gamed_is_a_share_of_what_is_right():
    rollouts = [with_parts(True, gamed=True), with_parts(True), with_parts(False)]
    assert group_metrics([Group(problem(), "sums", rollouts)], [])["gamed_ratio"] == 0.5


def test_a_right_reply_without_thinking_is_seen_as_gamed():
    lm = tiny_lm()

    class Yes:
        def score(self, rows):
            return {name: RIGHT for name, _, _ in rows}

    texts = ["<think>\n\n</think>\n1", "<think>\n0+1\n</think>\n1", "1"]
    ids = [[*lm.tokenizer.encode(text), lm.template.stop_ids[0]] for text in texts]
    completions = [Completion(i, [-1.0] * len(i), "raw", FinishReason.STOP, 0) for i in ids]
    judge: Any = Yes()
    judged = judge_groups(judge, lm.template, [Asked(problem(), "sums", PROMPT, "0/p")], [completions])
    (made,) = make_groups(judged, Reward(), lm.template, extra={"preference": {"0/p/1": 0.7}})
    assert [r.gamed for r in made.rollouts] == [True, False, False]
    assert [r.parts for r in made.rollouts] == [
        {"task": 1.0},
        {"preference": 0.7, "task": 1.0},
        {"task": 1.0},
    ]
