import json

import pytest

from shoestring.errors import BadInput
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.sft import SFTSettings, make_batches
from shoestring.origin import Lineage
from shoestring.settings import build
from shoestring.text.message import Rendered
from tiny import tiny_lm
from training_runs import metrics, run, save_base, sft_settings, weights


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


def test_the_loss_falls_and_everything_is_written(base, tmp_path):
    result = run(sft_settings(base, steps=15), tmp_path / "s")
    rows = metrics(tmp_path / "s")
    assert [row["step"] for row in rows] == list(range(1, 16))
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[0]["learning_rate"] == 1e-2
    assert rows[-1]["learning_rate"] == pytest.approx(1e-3)  # the cosine's end
    assert 0.1 < rows[0]["trained_share"] < 0.6
    assert result == {"steps": 15, "rows": 45, "rows_too_long": 0}
    assert not (tmp_path / "s/state").exists()
    first, own = Lineage.load(tmp_path / "s/model").stages
    assert (first.job, own.job, own.detail["steps"]) == ("base", "sft", 15)
    assert [o.source for o in own.origins] == ["procedural:sums"]
    usage = [json.loads(line) for line in (tmp_path / "s/usage.jsonl").read_text().splitlines()]
    assert sum(u["tokens"] for u in usage if u["kind"] == "train") == sum(r["num_tokens"] for r in rows)
    assert all(u["flops"] > 0 for u in usage if u["kind"] == "train")


def test_micro_batches_change_nothing_but_rounding(base, tmp_path):
    for name, tokens in (("one", 100_000), ("many", 1)):
        run(sft_settings(base, steps=2, micro_batch_tokens=tokens), tmp_path / name)
    one, many = metrics(tmp_path / "one"), metrics(tmp_path / "many")
    for key in ("loss", "grad_norm", "num_tokens"):
        assert [r[key] for r in one] == pytest.approx([r[key] for r in many], rel=1e-4)


def test_a_setting_of_the_optimizer_keeps_the_others_of_sft():
    values = {"model": "m", "suites": ["sums"], "steps": 1, "optim": {"learning_rate": 1e-3}}
    settings = build(SFTSettings, values, "sft")
    assert (settings.optim.learning_rate, settings.optim.schedule) == (1e-3, "cosine")
    assert SFTSettings(model="m", steps=1).optim.learning_rate == 2e-4


@pytest.mark.parametrize(
    "bad", [{"save_every": 0}, {"steps": 0}, {"micro_batch_tokens": 0}, {"optim": {"lr": 1}}]
)
def test_settings_out_of_range(bad):
    with pytest.raises(BadInput, match=next(iter(bad))):
        build(SFTSettings, {"model": "m", "steps": 1} | bad, "sft")


def conversations(tmp_path, *replies: str) -> str:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"q{i}", "completion": reply, "licence": "MIT"} for i, reply in enumerate(replies)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_long_rows_are_left_out_whole_and_counted(base, tmp_path):
    data = conversations(tmp_path, "short", "x" * 500, "brief")
    settings = sft_settings(base, suites=[], data=data, steps=2, rows_per_step=2, max_row_tokens=100)
    result = run(settings, tmp_path / "s")
    assert result["rows"] == 4
    assert 1 <= result["rows_too_long"] <= 2
    assert metrics(tmp_path / "s")[-1]["rows_too_long"] == result["rows_too_long"]
    assert [o.licence for o in Lineage.load(tmp_path / "s/model").stages[-1].origins] == ["MIT"]
    settings = sft_settings(base, suites=[], data=data, max_row_tokens=5)
    with pytest.raises(BadInput, match="longer than 5 tokens"):
        run(settings, tmp_path / "t")


def test_the_models_window_is_a_limit_too(tmp_path):
    tiny_lm(window=64).save(tmp_path / "small")
    settings = sft_settings(tmp_path / "small", suites=[], data=conversations(tmp_path, "x" * 200))
    with pytest.raises(BadInput, match=r"longer than 64 tokens.*window \(64\)"):
        run(settings, tmp_path / "s")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"suites": []}, "either suites or data"),
        ({"data": "x.jsonl"}, "either suites or data"),
        ({"suites": ["sum"]}, "did you mean 'sums'"),
        ({"suites": [], "data": "missing.jsonl"}, "no such file"),
    ],
)
def test_faults_are_found_before_anything_runs(base, changed, said):
    job = JOBS["sft"]()
    assert job.check is not None
    with pytest.raises(BadInput, match=said):
        job.check(sft_settings(base, **changed))


def test_a_suite_without_worked_solutions_is_refused_before_anything_runs(base, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        "".join(f'{{"question": "{i}?", "answer": "{i}", "licence": "MIT"}}\n' for i in range(30))
    )
    job = JOBS["sft"]()
    assert job.check is not None
    with pytest.raises(BadInput, match="no worked solutions"):
        job.check(sft_settings(base, suites=[str(path)]))


def test_weights_of_a_step_are_one_over_all_its_trained_tokens():
    rows = [Rendered([1] * n, [False] * (n - 2) + [True] * 2, f"{n}") for n in (5, 9, 30)]
    batches = make_batches(rows, 20)
    assert len(batches) == 2
    assert [w for b in batches for w in b.weights.tolist()] == pytest.approx([1 / 6] * 6)


def test_a_finished_model_is_the_trained_one(base, tmp_path):
    run(sft_settings(base, steps=1), tmp_path / "s")
    before, after = weights(tmp_path / "s"), dict(tiny_lm().network.public_tensors())
    assert all(not before[name].equal(after[name]) for name in before)
