import json

import pytest

from shoestring.errors import BadInput
from shoestring.jobs import recipe
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.reward import correlation, judged_by, step_metrics
from shoestring.lm import load
from shoestring.origin import Lineage, Origin, Stage
from shoestring.provenance.naming import duties_of
from shoestring.rl.preference import PreferenceModel
from shoestring.rl.preference_learner import PreferenceBatch, RewardMetrics
from shoestring.text.message import Message, Reply
from shoestring.text.preferences import Judged
from training_runs import grpo_settings, metrics, reward_settings, run, save_base

MINE = {"licence": "CC0-1.0"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


def write(folder, rows) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def shouting(count: int = 60):
    """What is chosen is said quietly."""
    for i in range(count):
        yield {"prompt": f"Say {i}.", "chosen": f"it is {i}", "rejected": f"IT IS {i}"} | MINE


def test_it_learns_and_everything_is_written(base, tmp_path):
    settings = reward_settings(base, data=write(tmp_path, shouting()), steps=25, rows_per_step=8)
    result = run(settings, tmp_path / "s")
    rows = metrics(tmp_path / "s")
    assert [row["step"] for row in rows] == list(range(1, 26))
    assert rows[-1]["loss"] < 0.1 < rows[0]["loss"]
    assert rows[-1]["accuracy"] == 1.0
    assert rows[-1]["margin"] == pytest.approx(rows[-1]["reward_chosen"] - rows[-1]["reward_rejected"])
    told = result["held_out"]
    assert told["n"] + result["distinct_rows"] == 60
    assert told["n"] == told["correct"] > 0  # prompts that it never saw
    assert told["ci95"][0] < 1.0 == told["accuracy"]
    assert told["corr_length"] is None or abs(told["corr_length"]) < 0.3
    assert told["chosen_longer"] == 0.5  # all as long: half by the flip of a coin
    assert (result["ties"], result["unlike_lengths"], result["rows_too_long"]) == (0, 0, 0)
    assert not (tmp_path / "s/state").exists()
    first, own = Lineage.load(tmp_path / "s/model").stages
    assert (first.job, own.job, own.detail["steps"]) == ("base", "reward", 25)
    assert own.origins == (Origin("file:rows.jsonl", "CC0-1.0"),)
    usage = [json.loads(line) for line in (tmp_path / "s/usage.jsonl").read_text().splitlines()]
    trained = [u for u in usage if u["kind"] == "train"]
    assert sum(u["tokens"] for u in trained) == sum(row["num_tokens"] for row in rows)
    assert all(u["flops"] > 0 for u in trained)
    model = PreferenceModel.load(tmp_path / "s", dtype="float32")
    ask = [Message(role="user", content="Say 777.")]
    scores = model.score([("a", ask, Reply(None, "it is 777")), ("b", ask, Reply(None, "IT IS 777"))])
    assert scores["a"] > 0.5 > -0.5 > scores["b"]  # standardised on what it learnt from


def test_labels_are_learnt_from_too(base, tmp_path):
    said = (("safe", "it is"), ("unsafe", "IT IS"))
    rows = [
        MINE | {"prompt": f"Say {i}.", "response": text, "label": label}
        for i in range(40)
        for label, text in said
    ]
    settings = reward_settings(base, data=write(tmp_path, rows), kind="safety", steps=25, rows_per_step=8)
    result = run(settings, tmp_path / "s")
    assert metrics(tmp_path / "s")[-1]["accuracy"] == 1.0
    assert result["held_out"]["accuracy"] == 1.0
    assert "chosen_longer" not in result["held_out"]
    assert result["held_out"]["safe_corr_length"] is None  # all as long
    assert PreferenceModel.load(tmp_path / "s").kind == "safety"


def test_our_own_rows_are_the_default(base, tmp_path):
    result = run(reward_settings(base, steps=1), tmp_path / "s")
    assert result["distinct_rows"] + result["held_out"]["n"] + result["unlike_lengths"] > 200
    assert abs(result["train"]["chosen_longer"] - 0.5) < 0.1


def test_long_rows_are_left_out_and_counted(base, tmp_path):
    rows = [*shouting(), MINE | {"prompt": "x" * 300, "chosen": "it is so", "rejected": "IT IS SO"}]
    settings = reward_settings(base, data=write(tmp_path, rows), steps=1, max_row_tokens=100)
    assert run(settings, tmp_path / "s")["rows_too_long"] == 1
    settings = reward_settings(base, data=write(tmp_path, rows), steps=1, max_row_tokens=5)
    with pytest.raises(BadInput, match="0 of 61 rows are at most 5 tokens long"):
        run(settings, tmp_path / "t")


def test_faults_are_found_before_anything_runs(base, tmp_path):
    check = JOBS["reward"]().check
    assert check is not None
    with pytest.raises(BadInput, match="no such file"):
        check(reward_settings(base, data="missing.jsonl"))
    with pytest.raises(BadInput, match="holds no labelled"):
        check(reward_settings(base, data=write(tmp_path, shouting(3)), kind="safety"))
    with pytest.raises(BadInput, match="kind"):
        reward_settings(base, kind="funny")
    with pytest.raises(BadInput, match="held out"):
        run(reward_settings(base, data=write(tmp_path, shouting(1)), steps=1), tmp_path / "s")


def test_step_metrics_by_hand():
    import numpy as np
    import torch

    from shoestring.text.packing import pack

    packed = pack([])
    assert len(packed.ids) == 0 == len(np.asarray(packed.starts))
    pairs = PreferenceBatch(packed, None, 0.5)
    found = RewardMetrics(0.4, 1.0, 1e-3, 0.1, False, [torch.tensor([2.0, 1.0, 0.0, 0.0])])
    told = step_metrics(found, [pairs])
    assert (told["accuracy"], told["margin"], told["reward_chosen"]) == (0.5, 0.5, 1.0)  # a tie isn't right
    labels = PreferenceBatch(packed, torch.tensor([True, False]), 0.5)
    found = RewardMetrics(0.4, 1.0, 1e-3, 0.1, False, [torch.tensor([2.0, 1.0])])
    told = step_metrics(found, [labels])
    assert (told["accuracy"], told["reward_chosen"], told["reward_rejected"]) == (0.5, 2.0, 1.0)
    only = PreferenceBatch(packed, torch.tensor([True]), 1.0)
    found = RewardMetrics(0.4, 1.0, 1e-3, 0.1, False, [torch.tensor([2.0])])
    assert "margin" not in step_metrics(found, [only])


class Row:
    def __init__(self, better: str, worse: str) -> None:
        replies = (Reply(None, better), Reply(None, worse))
        self.row = Judged("r", [], replies, None, Origin("s", "l"))


def test_what_is_told_of_held_out_rows_by_hand():
    told = judged_by([Row("aaa", "a"), Row("a", "aa")], [[3.0, 1.0], [1.0, 2.0]])  # type: ignore[list-item]
    assert (told["n"], told["prompts"], told["correct"], told["chosen_longer"]) == (2, 1, 1, 0.5)
    assert told["corr_length"] == 1.0  # it scores by length alone
    assert told["ci95"][0] < 0.5 < told["ci95"][1]
    assert correlation([1.0, 1.0], [1.0, 2.0]) is None


def test_grpo_on_open_prompts_learns_what_is_preferred(base, tmp_path):
    """From the reward model's stage to a policy, by preference alone and beside problems that are checked."""
    run(reward_settings(base, data=write(tmp_path, shouting()), steps=5), tmp_path / "rm")
    settings = grpo_settings(
        base,
        "chat",
        steps=2,
        preference={"model": str(tmp_path / "rm"), "dtype": "float32", "weight": 0.5},
    )
    run(settings, tmp_path / "rl")
    rows = metrics(tmp_path / "rl")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["open_ratio"] == 1.0 and "solve_rate" not in row for row in rows)
    assert all(row["groups/live"] > 0 for row in rows)
    assert all(-3 <= row["preference/mean"] <= 3 for row in rows)
    assert load(tmp_path / "rl").lineage.stages[-1].origins[0].source == "shoestring:chat"


def test_what_reached_the_reward_model_reaches_the_policy(base, tmp_path):
    rows = [row | {"teacher": "Llama-3.1-8B"} for row in shouting()]
    run(reward_settings(base, data=write(tmp_path, rows), steps=1), tmp_path / "rm")
    preference = {"model": str(tmp_path / "rm"), "dtype": "float32", "weight": 0.5}
    run(grpo_settings(base, "chat", steps=1, preference=preference), tmp_path / "rl")
    lineage = Lineage.load(tmp_path / "rl/model")
    (origin,) = [origin for origin in lineage.stages[-1].origins if origin.teacher]
    assert origin.source.startswith("scores of ")
    assert [stage.job for stage in lineage.teachers[origin.teacher_sha256]] == ["base", "reward"]
    assert [duty.name for duty in duties_of(lineage)] == ["llama"]
    assert (tmp_path / "rl/model/README.md").read_text().startswith("# Llama-")
    barred = Lineage.load(tmp_path / "rm/model").then(
        Stage("more", "sft", "", origins=(Origin("file:r.jsonl", "MIT", "gpt-4"),))
    )
    barred.save(tmp_path / "rm/model")
    with pytest.raises(BadInput, match=r"gpt-4.*OpenAI bars"):
        run(grpo_settings(base, "chat", steps=1, preference=preference), tmp_path / "refused")


def test_grpo_refuses_what_is_no_reward_model(base, tmp_path):
    settings = grpo_settings(base, "chat", preference={"model": str(base)})
    with pytest.raises(BadInput, match="not a reward model"):
        run(settings, tmp_path / "rl")
    check = JOBS["grpo"]().check
    assert check is not None
    with pytest.raises(BadInput, match="late_from = 9: there are only 6 steps"):
        check(grpo_settings(base, "sums", late_suites=["chat"], late_from=9))
    with pytest.raises(BadInput, match="no task family 'chats'"):
        check(grpo_settings(base, "sums", late_suites=["chats"]))


def test_a_recipe_hands_the_reward_model_on(base, tmp_path):
    data = write(tmp_path, shouting())
    (tmp_path / "r.toml").write_text(
        f"""
[recipe]
name = "all-scenarios"

[[stage]]
name = "helpful"
job = "reward"
model = "{base}"
data = "{data}"
steps = 9
rows_per_step = 4
dtype = "float32"
[stage.small]
steps = 2

[[stage]]
name = "rl"
job = "grpo"
model = "{base}"
suites = ["chat"]
steps = 1
prompts_per_step = 2
samples_per_prompt = 4
max_completion_tokens = 8
dtype = "float32"
[stage.preference]
model = "stage:helpful"
dtype = "float32"
"""
    )
    recipe.run(tmp_path / "r.toml", tmp_path / "out", scale="small")
    stages = tmp_path / "out/stages"
    assert json.loads((stages / "01-helpful/result.json").read_text())["steps"] == 2
    assert "preference/mean" in metrics(stages / "02-rl")[0]
    with pytest.raises(BadInput, match="did you mean 'helpful'"):
        recipe.run(
            tmp_path / "r.toml", tmp_path / "other", {"rl.preference.model": "stage:helpfull"}, scale="small"
        )
