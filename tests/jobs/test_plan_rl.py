"""Reinforcement learning in a plan: what lies in memory beside the model that learns, and what that takes."""

from pathlib import Path

import pytest

from budget_machine import QUIET
from shoestring.budget.machine import of_probe
from shoestring.budget.memory import weight_bytes
from shoestring.budget.plan import Phase, Plan
from shoestring.jobs.plan_lengths import KEPT
from shoestring.jobs.plan_models import known_model
from shoestring.jobs.plan_recipe import plan_recipe

MACHINE = of_probe(QUIET)
BASE = weight_bytes(known_model("smollm2-135m").config)
ZERO = """
[recipe]
name = "rl"

[[stage]]
name = "zero"
job = "grpo"
model = "smollm2-135m"
suites = ["sums"]
steps = 10
"""


def planned(folder: Path, text: str) -> Plan:
    path = folder / "rl.toml"
    path.write_text(text)
    return plan_recipe(path, MACHINE)


def training(plan: Plan, stage: str = "zero") -> Phase:
    (phase,) = (p for p in plan.phases if p.kind == "train" and p.stage == stage)
    return phase


def held(plan: Plan, stage: str = "zero") -> dict[str, int]:
    memory = training(plan, stage).memory
    assert memory is not None
    return dict(memory.parts)


def test_a_reference_is_a_second_copy_of_the_weights(tmp_path):
    assert "reference" not in held(planned(tmp_path, ZERO))
    kept = ZERO + "loss = { kl_coefficient = 0.01 }\n"
    assert held(planned(tmp_path, kept))["reference"] == BASE
    assert "reference" not in held(planned(tmp_path, kept + "lora = { rank = 8 }\n"))


def test_a_reward_model_takes_memory_and_time():
    plan = plan_recipe("r1", MACHINE)
    assert held(plan, "rl-2")["reward model"] == BASE
    assert "reward model" not in held(plan, "rl-1")


def test_a_reward_model_that_reads_more_takes_longer(tmp_path):
    reward = '[[stage]]\nname = "helpful"\njob = "reward"\nmodel = "smollm2-135m"\nsteps = 2\n'
    asked = 'preference = { model = "stage:helpful", on = "all", from_step = FROM }\n'
    recipe = ZERO.replace("[[stage]]", reward + "\n[[stage]]", 1) + asked

    def judging(start: int) -> float:
        plan = planned(tmp_path, recipe.replace("FROM", str(start)))
        return next(p.seconds.mid for p in plan.phases if p.kind == "judge" and p.stage == "zero")

    assert judging(1) > judging(6) > judging(11)
    rest = next(p.seconds.mid for p in planned(tmp_path, ZERO).phases if p.kind == "judge")
    assert judging(11) == pytest.approx(rest)  # it never reads
    assert judging(1) - rest == pytest.approx(2 * (judging(6) - rest), rel=1e-3)


def test_suites_that_join_late_count_from_then_on(tmp_path):
    def prompts(more: str) -> float:
        plan = planned(tmp_path, ZERO.replace('"sums"', '"letters"') + more)
        return next(p.tokens.mid for p in plan.phases if p.kind == "train")

    without, all_along = prompts(""), prompts('late_suites = ["equations"]\nlate_from = 1\n')
    assert all_along != pytest.approx(without)
    late = prompts('late_suites = ["equations"]\nlate_from = 6\n')
    assert late == pytest.approx((without + all_along) / 2)


def test_a_reward_model_reads_open_prompts_that_join_late(tmp_path):
    reward = '[[stage]]\nname = "helpful"\njob = "reward"\nmodel = "smollm2-135m"\nsteps = 2\n'
    recipe = ZERO.replace("[[stage]]", reward + "\n[[stage]]", 1)
    recipe += 'preference = { model = "stage:helpful" }\nlate_suites = ["chat"]\nlate_from = FROM\n'

    def judging(start: int) -> float:
        plan = planned(tmp_path, recipe.replace("FROM", str(start)))
        return next(p.seconds.mid for p in plan.phases if p.kind == "judge" and p.stage == "zero")

    assert judging(1) > judging(6) > judging(10)


def test_problems_that_are_kept_back_take_time(tmp_path):
    usual, watched = (planned(tmp_path, ZERO + more) for more in ("", "held_out = { every = 2, n = 32 }\n"))
    more = watched.seconds.mid - usual.seconds.mid
    assert more > 0
    assert watched.tokens == usual.tokens  # a bill has their time under other, and not their tokens


def test_a_local_teacher_lies_beside_the_student():
    plan = plan_recipe("distill", MACHINE)
    assert held(plan, "on-policy")["teacher"] == BASE


def test_a_teachers_logprobs_are_one_forward_pass():
    """A third of an update, and nothing that learns in memory."""
    plan = plan_recipe("distill", MACHINE)
    taught, student = (
        next(p for p in plan.phases if p.stage == "from-distribution" and p.kind == kind)
        for kind in ("teach", "train")
    )
    assert taught.memory is not None
    assert set(taught.memory.parts) == {"weights", "activations", "logits"}
    rows = KEPT.mid * 800 * 2  # of the outputs' stage, once each; the student takes 60 steps of 32
    assert taught.flops.mid == pytest.approx(rows / (60 * 32) * student.flops.mid / 3, rel=0.02)
    assert taught.memory.total < 2 * BASE


def test_a_live_teacher_is_on_the_bill_of_training():
    kept, live = (plan_recipe("distill", MACHINE, {"from-distribution.keep": keep}) for keep in (64, 0))
    assert not [p for p in live.phases if p.kind == "teach"]
    assert held(live, "from-distribution")["teacher"] == BASE
    first, second = (training(plan, "from-distribution").flops.mid for plan in (kept, live))
    assert second == pytest.approx(4 / 3 * first)
