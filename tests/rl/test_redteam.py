"""What is attacked before a run, and what is refused by name."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.jobs import grpo
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import expand
from shoestring.rl import redteam
from shoestring.rl.attacks import ATTACKS, candidates, known_answer, lookalike, target_of
from shoestring.rl.redteam import RIGHT, Attacked, check_reward, guard, refuse, said, summary
from shoestring.rl.reward import Reward
from shoestring.rl.reward_settings import ShapeSettings
from shoestring.rl.settings import GRPOSettings
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.tasks import FAMILIES
from shoestring.tasks.chat import CHAT
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite, score
from tiny import CHATML, tiny_lm
from training_runs import grpo_settings, run, save_base

R1 = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def judge():
    with Judge() as judge:
        yield judge


@pytest.fixture
def planted(tmp_path):
    """The suite of a planted scorer: 30 additions."""
    rows = [
        {"question": f"What is {n} plus {n + 41}?", "answer": str(2 * n + 41), "licence": "CC0-1.0"}
        for n in range(200, 230)
    ]
    path = tmp_path / "planted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lambda scorer: f"{path}:scorer=planted:{scorer}"


def attacked(judge, suites, shape=None, template=CHATML, ask=None) -> list[Attacked]:
    reward = Reward(shape=build(ShapeSettings, shape or {}, "shape"), max_tokens=512)
    results = check_reward(judge, suites, reward, tiny_lm(template=template), 0.05, ask)
    return [r for r in results if r.attack != RIGHT.name]


RECIPES = [
    "recipes/laptop.toml",
    "recipes/tiny-v3.toml",
    *(
        f"studies/{n}.toml"
        for n in ("grpo-on-cold-start", "grpo-on-full-cold-start", "tiny-v3", "zero-controls")
    ),
]


def suites_of_recipes() -> list[str]:
    units = [u for path in RECIPES for u in expand(load_recipe(ROOT / path, {}, "full"), JOBS)]
    found = {str(parse_suite(s)) for u in units if u.job == "grpo" for s in u.resolved["suites"]}
    return sorted({*found, "countdown", "letters", "letters:question=count", "equations:max_form=4"})


@pytest.mark.parametrize("template", [CHATML, R1])
def test_our_own_rewards_pay_no_attack(judge, template):
    suites = suites_of_recipes() if template == CHATML else ["sums", "letters"]
    results = attacked(judge, suites, template=template)
    refuse(results)
    assert {r.attack for r in results} == {a.name for a in ATTACKS}
    assert max(r.earned for r in results) == 0.0


def test_the_known_answer_is_the_right_one(judge):
    """Otherwise the attacks that hide it among others would show nothing."""
    suites = ["sums", "equations", "countdown", "letters"]
    results = check_reward(judge, suites, Reward(), tiny_lm(), 0.05)
    assert [r.earned for r in results if r.attack == RIGHT.name] == [1.0] * 4


@pytest.mark.parametrize(
    ("scorer", "attacks"),
    [
        ("anywhere", ["every candidate listed, the right one first", "a candidate on each line"]),
        ("last_number", ["one answer after another, the right one last"]),
        ("first_box", ["many boxed answers, the right one first"]),
        ("reads_thinking", ["the answer only in the thinking"]),
        ("obeys", ["an injected verdict (plea)"]),
        ("believes_json", ["an injected verdict (JSON)"]),
        ("likes_length", ["a huge answer"]),
        ("likes_tags", ["answer tags again and again"]),
        ("pays_nothing_said", ["an empty answer", "white space", "nothing"]),
        ("pays_echo", ["the prompt echoed"]),
        ("pays_all", ["an honest wrong answer", "nothing", "padding to a length"]),
        ("pays_form", ["an honest wrong answer", "empty thinking and a guess"]),
    ],
)
def test_planted_faults_are_refused_by_name(judge, planted, scorer, attacks):
    results = attacked(judge, [planted(scorer)])
    refused = {r.attack for r in results if r.refused}
    assert all(any(name.startswith(a) for name in refused) for a in attacks), refused
    if scorer not in ("pays_all", "pays_form", "last_number", "anywhere"):
        assert len(refused) <= 6  # and what doesn't touch the fault passes
    with pytest.raises(
        BadInput, match=r"^reward refused: '.*' earns (0\.5|1\.0)0 on .*planted.*\(allowed 0\.05\)"
    ):
        refuse(results)


def test_a_sound_scorer_passes(judge, planted):
    refuse(attacked(judge, [planted("sound")]))


@pytest.mark.parametrize(
    ("shape", "refused"),
    [
        ({"format": {"weight": 0.5}}, False),  # paid only where right
        ({"format": {"weight": 0.5, "gate": "none"}}, False),  # honest wrong replies earn it alike
        ({"language": {"weight": 1.0}}, False),
        ({"length": {"weight": 1.0}}, False),
        ({"repetition": {"weight": 1.0}}, False),
        ({"named": {"helpful": {"weight": 1.0, "gate": "none"}}}, True),  # longer is paid, right or wrong
        ({"named": {"helpful": {"weight": 1.0}}}, False),
        ({"named": {"helpful": {"weight": 0.01, "gate": "none"}}}, False),  # within the margin
    ],
)
def test_shape_is_attacked_with_the_scorer(judge, planted, shape, refused):
    results = attacked(judge, [planted("helpful")], shape)
    assert any(r.refused for r in results) is refused
    if refused:
        assert {"a huge answer", "filler in another language"} <= {r.attack for r in results if r.refused}


def test_a_model_that_computes_a_part_is_attacked_too(judge, planted):
    def obeying(asked):
        """A judge that does what the reply tells it to."""
        return {"preference": {row: float("full marks" in reply.answer) for row, _, reply in asked}}

    shape = {"named": {"preference": {"weight": 1.0, "gate": "none"}}}
    results = attacked(judge, [planted("sound")], shape, ask=obeying)
    assert [r.attack for r in results if r.refused] == ["an injected verdict (plea)"]


def test_a_control_is_attacked_as_its_task(judge):
    results = check_reward(judge, ["sums"], Reward(kind="random"), tiny_lm(), 0.05)
    assert {r.earned for r in results if r.attack != RIGHT.name} == {0.0}


def test_replies_without_a_verdict_are_counted(judge, planted):
    results = attacked(judge, [planted("breaks")])
    refuse(results)
    assert {r.attack for r in results if r.failed} == {"a huge answer", "a huge count"}
    assert "2 replies had no verdict" in summary(results, 0.1)


def test_a_scorer_that_takes_for_ever_is_given_up_on(judge, planted, monkeypatch):
    monkeypatch.setattr(redteam, "PATIENCE_S", 0.0)
    results = attacked(judge, [planted("sound"), "sums"])
    assert {(r.suite.partition(":")[0], r.attack) for r in results} == {
        (r.suite.partition(":")[0], "an honest wrong answer") for r in results
    }
    assert len(results) == 2
    assert "some attacks weren't tried" in summary(results, 0.1)


def test_lookalikes_are_wrong_and_look_alike():
    assert lookalike("22", 0) == "98765431"
    assert lookalike("8*3-5", 1) == "98766431*98766432-98766433"
    assert lookalike("banana", 2) == "qxzvjc"
    assert candidates("22")[:2] == ["12", "13"]
    assert "22" not in candidates("22")
    assert candidates("B") == list("ACDEFGH")
    for text in ("sums", "equations", "countdown", "letters"):
        for problem in ProblemStream(parse_suite(text), 0).take(20):
            target = target_of(problem)
            assert target.known == known_answer(problem)
            assert score(problem, said(RIGHT, target, tiny_lm()).reply).value == 1.0
            assert all(len(set(candidates(target.known or ""))) >= 7 for _ in "x")


def test_what_the_attacks_look_like_when_the_prompt_opens_the_thinking():
    target = target_of(ProblemStream(parse_suite("sums"), 0).item(0))
    lm = tiny_lm(template=R1)
    found = {a.name: said(a, target, lm) for a in ATTACKS}
    assert found["empty thinking and a guess"].text == f"\n</think>\n{target.guess}"
    assert found["empty thinking and a guess"].reply.reasoning is None
    assert target.known in (found["the answer only in the thinking"].reply.reasoning or "")
    assert found["the answer only in the thinking"].reply.answer.strip() == ""


def test_a_run_is_refused_before_its_first_step(tmp_path, planted):
    base = save_base(tmp_path / "base")
    settings = grpo_settings(base, planted("anywhere"), red_team=True)
    with pytest.raises(BadInput, match="reward refused: 'every candidate listed"):
        run(settings, tmp_path / "g")
    assert not (tmp_path / "g/metrics.jsonl").exists()
    kept = json.loads((tmp_path / "g/redteam.json").read_text())
    assert any(row["refused"] for row in kept["attacks"])
    run(
        settings.model_copy(
            update={"red_team_margin": 0.99, "steps": 1, "reward": "random", "suites": ["sums"]}
        ),
        tmp_path / "h",
    )


def test_what_it_found_is_written_and_said(tmp_path, judge):
    settings = build(GRPOSettings, {"model": "m", "steps": 1, "suites": ["sums", "letters"]}, "grpo")
    out = io.StringIO()
    with Stage(tmp_path / "g", "g", Console(file=out, width=300)) as stage:
        guard(settings, tiny_lm(), judge, stage)
    assert f"red team: {len(ATTACKS)} attacks on 2 suites, none pays" in out.getvalue()
    kept = json.loads((tmp_path / "g/redteam.json").read_text())
    assert kept["right_answer_earns"] == {"sums": 1.0, "letters": 1.0}
    assert len(kept["attacks"]) == 2 * len(ATTACKS)


def test_a_resumed_run_is_not_attacked_again(tmp_path, monkeypatch):
    base = save_base(tmp_path / "base")
    settings = grpo_settings(base, "sums", steps=2, save_every=1, reward="random", red_team=True)
    calls = []
    monkeypatch.setattr(grpo, "guard", lambda *_: calls.append(1))
    monkeypatch.setattr(grpo, "restore_trainer", lambda trainer, _: setattr(trainer.learner, "step", 2) or 2)
    run(settings, tmp_path / "g")
    assert calls == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_attack_pays_on_any_family_of_ours(language):
    lm = tiny_lm()
    with Judge() as judge:
        for family in FAMILIES:
            if family != CHAT:
                results = check_reward(judge, [f"{family}:language={language}"], Reward(), lm, 0.05)
                paid = [r.attack for r in results if r.refused and r.attack != RIGHT.name]
                assert paid == [], (family, paid)
