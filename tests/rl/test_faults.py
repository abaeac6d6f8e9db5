"""Each fault on groups made by hand, and nothing on healthy ones."""

import dataclasses

import pytest
import torch

from groups import group, problem, rollout
from shoestring.rl import faults, group_faults
from shoestring.rl.batch import make_batches
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.rollout import Group
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def named(i: int) -> Group:
    return group([1.0, 0.0], name=f"{i}/p{i}")


def answered(own: Problem, said: list[str], right: list[bool], number: int) -> Group:
    rollouts = [
        dataclasses.replace(
            rollout(float(r), name=f"{number}/x", number=i),
            problem=own,
            reply=Reply(None, f"The answer is {text}."),
            verdict=Verdict(Outcome.RIGHT if r else Outcome.WRONG, float(r)),
        )
        for i, (text, r) in enumerate(zip(said, right, strict=True))
    ]
    return Group(own, "sums", rollouts)


def test_a_cap_too_short():
    short = Group(problem(), "sums", [rollout(0.0, cut=i < 3, number=i) for i in range(4)])
    fault = group_faults.cut_short([short], 64)
    assert fault is not None
    assert fault.name == "cap too short"
    assert "3 of 4" in fault.evidence
    assert "64" in fault.evidence
    half = Group(problem(), "sums", [rollout(0.0, cut=i < 2, number=i) for i in range(4)])
    assert group_faults.cut_short([half], 64) is None


def test_groups_of_one_prompt_are_fine():
    assert group_faults.wrong_groups([named(0), named(1)]) is None


@pytest.mark.parametrize("kind", ["swapped", "one name", "other prompt"])
def test_wrong_groups(kind):
    a, b = named(0), named(1)
    if kind == "swapped":
        a.rollouts[1], b.rollouts[1] = b.rollouts[1], a.rollouts[1]
    elif kind == "one name":
        b = named(0)
    else:
        sequence = dataclasses.replace(a.rollouts[1].sequence, prompt=[10, 11])
        a.rollouts[1] = dataclasses.replace(a.rollouts[1], sequence=sequence)
    fault = group_faults.wrong_groups([a, b])
    assert fault is not None
    assert fault.name == "wrong group ids"


def test_stale_versions():
    assert group_faults.stale_version([named(0)], 0) is None
    fault = group_faults.stale_version([named(0)], 3)
    assert fault is not None
    assert fault.name == "stale weights"
    assert "2 from version 0" in fault.evidence


def test_constant_rewards(judge):
    assert group_faults.constant_reward([named(0)], judge) is None
    same = Group(problem(), "sums", [rollout(0.0, number=0), rollout(0.0, number=1)])
    assert group_faults.constant_reward([same], judge) is None  # all wrong: nothing constant about the scorer
    blind = Group(
        problem(),
        "sums",
        [rollout(1.0, number=0), dataclasses.replace(rollout(0.0, number=1), reward=1.0)],
    )
    fault = group_faults.constant_reward([blind], judge)
    assert fault is not None
    assert fault.name == "constant reward"


def test_all_that_groups_show_before_an_update(judge):
    same = [rollout(1.0, number=0), dataclasses.replace(rollout(0.0, number=1), reward=1.0)]
    groups = [Group(problem(), "sums", same)]
    assert [f.name for f in group_faults.group_faults(groups, judge, 3, control=False)] == [
        "stale weights",
        "constant reward",
    ]
    assert group_faults.group_faults(groups, judge, 0, control=True) == []


def test_all_right_is_constant_only_if_nonsense_is_paid_too(judge, tmp_path):
    (own,) = draw_problems(parse_suite("sums:max_terms=2"), "train", 1, 0)
    assert group_faults.constant_reward([answered(own, ["7", "7"], [True, True], 0)], judge) is None
    rows = tmp_path / "toy.jsonl"
    rows.write_text("".join(f'{{"question": "Say {i}."}}\n' for i in range(20)))
    (paid,) = draw_problems(parse_suite(f"{rows}:scorer=toy_scorer:always"), "train", 1, 0)
    fault = group_faults.constant_reward([answered(paid, ["7", "8"], [True, True], 0)], judge)
    assert fault is not None
    assert "earns it too" in fault.evidence


def shifted(count: int, level: str, by: int) -> list[Group]:
    """Groups whose replies state the right answer of the problem `by` places on."""
    problems = draw_problems(parse_suite(level), "train", count, 0)
    golds = [str(p.hidden["answer"]) for p in problems]
    groups = []
    for i, own in enumerate(problems):
        text = golds[(i + by) % count]
        groups.append(answered(own, [text] * 3 + ["1000"], [text == golds[i]] * 3 + [False], i))
    return groups


def test_shuffled_gold(judge):
    assert group_faults.swapped_gold(shifted(8, "sums:min_terms=4", 0), judge) is None
    fault = group_faults.swapped_gold(shifted(8, "sums:min_terms=4", 1), judge)
    assert fault is not None
    assert fault.name == "shuffled gold"


def test_a_model_with_a_habit_is_no_shuffled_gold(judge):
    problems = draw_problems(parse_suite("sums:min_terms=4"), "train", 8, 0)
    wrong = [
        answered(p, [str(p.hidden["answer"] + 1000)] * 4, [False] * 4, i) for i, p in enumerate(problems)
    ]
    assert group_faults.swapped_gold(wrong, judge) is None


def test_a_model_that_always_says_the_same_is_no_shuffled_gold(judge):
    """Right for one of ten problems, it is right for another one in the nine others' groups."""
    problems = draw_problems(parse_suite("letters:question=count"), "train", 200, 0)
    one = next(p for p in problems if str(p.hidden["answer"]) == "1")
    others = [p for p in problems if str(p.hidden["answer"]) != "1"][:9]
    groups = [answered(p, ["1"] * 4, [p is one] * 4, i) for i, p in enumerate([one, *others])]
    assert group_faults.swapped_gold(groups, judge) is None


def test_a_control_is_not_told_that_it_is_one(judge):
    groups = shifted(8, "sums:min_terms=4", 1)
    assert [f.name for f in group_faults.group_faults(groups, judge, 0, control=False)] == ["shuffled gold"]
    assert group_faults.group_faults(groups, judge, 0, control=True) == []


def test_where_any_answer_is_right_somewhere_nothing_is_said(judge):
    assert group_faults.swapped_gold(shifted(100, "sums:max_terms=3,max_digits=1", 5), judge) is None


def test_the_end_of_turn_is_in_the_loss():
    groups = [group([1.0, 0.0], [3, 2]), group([1.0, None], [4, 4], name="q")]
    stops = [22, 21, 23]
    batches = make_batches(groups, PolicyLossSettings(), 8, 100)
    assert faults.end_not_trained(groups, batches, stops) is None
    masked = []
    for batch in batches:
        keep = torch.tensor([int(t) not in stops for t in batch.packed.targets])
        masked.append(dataclasses.replace(batch, weights=batch.weights * keep))
    fault = faults.end_not_trained(groups, masked, stops)
    assert fault is not None
    assert fault.name == "pad = eos"


@pytest.mark.parametrize(
    ("mismatch", "first", "fitted", "name"),
    [
        (1e-4, True, 0.6, None),
        (0.05, True, 0.6, "temperature on one side"),
        (0.05, False, 0.6, "temperature on one side"),
        (0.05, True, 1.0, "sampler and trainer disagree"),
        (0.05, False, 1.0, "stale weights"),
    ],
)
def test_sampler_against_trainer(mismatch, first, fitted, name):
    fault = faults.disagreeing(mismatch, first, 1.0, fitted)
    assert (fault.name if fault else None) == name


def test_an_exploding_learning_rate():
    assert faults.exploded(0.05, 1e-5) is None
    for drift in (3.0, float("inf"), float("nan")):
        fault = faults.exploded(drift, 1e-2)
        assert fault is not None
        assert fault.name == "exploding learning rate"
        assert "0.01" in fault.evidence
