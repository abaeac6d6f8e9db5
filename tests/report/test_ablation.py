"""A study of pretraining from its run folder: figures, contrasts and the page, worked out by hand."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from run_folders import begin as begin_laptop
from shoestring.budget.flops import token_flops
from shoestring.models.config_file import config_to_hf
from shoestring.report.ablation import dump, main, parse, render
from shoestring.report.ablation_page import sentence
from shoestring.report.ablation_run import FIGURES, Trained, Wanted, read_ablation
from shoestring.report.contrast import contrasts, reach, t_interval, t_point, t_two_sided
from shoestring.run import RunFolder, open_run
from tiny_v3 import v3_config

SETTINGS = {"job": "pretrain", "steps": 22, "objectives": {"mtp_weight": 0.3}, "numerics": "weights"}
WANTED = (
    Wanted("pretrain", "pretrain/dense", "val_bpb"),
    Wanted("pretrain/fp8", "pretrain", "val_bpb", within=0.0025),
    Wanted("pretrain", "pretrain/dense", "max_vio"),
)
RECIPE = {
    "recipe": {"name": "parts", "description": "Made up."},
    "stage": [{"name": "pretrain", "job": "pretrain", "seeds": [0, 1, 2]}],
    "arm": [
        {"name": "dense", "set": {"pretrain.architecture.n_routed_experts": 0}},
        {"name": "fp8", "set": {"pretrain.numerics": "fp8"}},
    ],
    "contrast": [dataclasses.asdict(wanted) for wanted in WANTED],
}
BITS = {
    "": (1.50, 1.60, 1.70),
    "dense": (1.60, 1.72, 1.78),  # 0.10, 0.12 and 0.08 more
    "fp8": (1.5015, 1.6000, 1.6983),  # +0.1, 0 and -0.1 %
}
CHANGES: dict[str, dict[str, Any]] = {
    "": {},
    "dense": {"architecture": {"n_routed_experts": 0}},
    "fp8": {"numerics": "fp8"},
}


def pretrain(folder: RunFolder, arm: str, seed: int, bits: float) -> None:
    """22 steps, of which the last 20 count; the first is slow, its loss and its load far off."""
    own = folder.unit_folder(1, "pretrain", arm, seed)
    (own / "model").mkdir(parents=True)
    (own / "settings.toml").write_text(tomli_w.dumps(SETTINGS | CHANGES[arm] | {"seed": seed}))
    config = v3_config(**CHANGES[arm].get("architecture", {}))
    (own / "model/config.json").write_text(json.dumps(config_to_hf(config)))
    stage = folder.stage(own, "pretrain", None, "pretrain")
    for step in range(1, 23):
        early = step <= 2
        row = {"loss": 9.0 if early else 2.0 + (step % 2) / 10, "num_tokens": 512, "step_time": 2.0}
        row |= {"perf/throughput": 10.0 if early else 1000.0, "mtp_loss": 3.0}
        if arm != "dense":
            row |= {"max_vio": 5.0 if early else 0.25, "max_vio_worst": 8.0 if early else 0.5 + step / 100}
        if step % 11 == 0:
            row |= {"val_bpb": bits + (step == 11), "val_bpb/worked": bits / 2, "val_bpb/stdlib": 2 * bits}
        stage.use("train", 2.0, 512, 512 * 3e6)
        stage.log(step, row)
    stage.finish({"steps": 22})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = open_run(tmp_path_factory.mktemp("runs") / "parts", resume=False)
    made.begin(RECIPE, "shoestring run parts")
    for arm, values in BITS.items():
        for seed, bits in enumerate(values):
            pretrain(made, arm, seed, bits)
    made.status("finished")
    return made.path


def trained(arm: str, seed: int, **figures: float | None) -> Trained:
    return Trained("pretrain", arm, seed, {}, dict.fromkeys(FIGURES) | figures, {}, (), {})


def units(**arms: tuple[float | None, ...]) -> list[Trained]:
    """Of an arm each, "plain" the stage as written; seeds from 0."""
    return [
        trained("" if arm == "plain" else arm, seed, val_bpb=value)
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]


def test_what_a_unit_came_to(folder: Path) -> None:
    found = read_ablation(folder)
    assert [(unit.name, unit.seed) for unit in found.units] == [
        (name, seed) for name in ("pretrain", "pretrain/dense", "pretrain/fp8") for seed in (0, 1, 2)
    ]
    plain, dense = found.units[1], found.units[4]
    assert plain.figures == {
        "val_bpb": 1.6,
        "loss": pytest.approx(2.05),
        "mtp_loss": pytest.approx(3.0),
        "max_vio": 0.25,
        "max_vio_worst": pytest.approx(0.72),
        "tokens_per_second": 1000.0,
        "seconds": 44.0,
    }
    assert plain.steps == (11, 22)
    assert plain.curves["val_bpb"] == (2.6, 1.6)
    assert plain.curves["val_bpb/stdlib"] == (3.2, 3.2)
    assert plain.settings == {}
    assert dense.settings == {"architecture.n_routed_experts": 0}
    assert dense.figures["max_vio"] is dense.figures["max_vio_worst"] is None
    assert plain.sizes["cache_bytes_per_token"] == (16 + 8) * 3 * 2  # latent and rotary key, layers, bytes
    assert plain.sizes["tokens"] == 22 * 512
    assert plain.sizes["training_flops_per_token"] == 3_000_000
    assert plain.sizes["flops_per_token"] == token_flops(v3_config())
    # 6 experts of 8 are not met, 3 matrices of 32 x 16 each, in 2 layers
    assert plain.sizes["parameters"] - plain.sizes["active_parameters"] == 2 * 6 * 3 * 32 * 16
    assert dense.sizes["parameters"] == dense.sizes["active_parameters"]


def test_contrasts(folder: Path) -> None:
    """Differences -0.10, -0.12, -0.08: sd 0.02, t = -0.1 / 0.02 * sqrt 3. Shares 0.1, 0, -0.1 %: sd 0.1 %,
    and 0.25 % is 4.3301 standard errors away to either side. For df 2, p = 1 - t / sqrt(t^2 + 2)."""
    dense, fp8, load = contrasts(read_ablation(folder).units, WANTED)
    assert dense.pairs == {"0": (1.5, 1.6), "1": (1.6, 1.72), "2": (1.7, 1.78)}
    assert dense.mean == pytest.approx(-0.10)
    assert dense.ci95 is not None
    assert (dense.ci95.low, dense.ci95.high) == (
        pytest.approx(-0.149683, abs=1e-6),
        pytest.approx(-0.050317, abs=1e-6),
    )
    assert dense.p_value == pytest.approx(0.0130724, abs=1e-6)
    assert fp8.ci95 is not None
    assert fp8.ci95.high == pytest.approx(0.00248414, abs=1e-7)
    assert fp8.p_value == pytest.approx(0.0247068, abs=1e-6)
    assert dense.adjusted == pytest.approx(2 * 0.0130724, abs=1e-6)
    assert fp8.adjusted == dense.adjusted  # Holm: never below the one before
    assert (dense.verdict, fp8.verdict) == ("lower", "within the claim")
    assert load.verdict == "not measured on both sides"
    assert sentence(dense) == (
        "bits per byte, held out, pretrain against pretrain/dense: -0.1 (-5.91 %) on average, lower in 3 and "
        "higher in 0 of 3 pairs; 95 % interval -0.1497 to -0.05032, p = 0.0261: lower."
    )
    assert "in 3 of 3 pairs at most the claimed 0.25 % to either side" in sentence(fp8)
    assert sentence(load) == "max_vio, pretrain against pretrain/dense: not measured on both sides."


@pytest.mark.parametrize(
    ("values", "within", "said"),
    [
        ((1.1, 1.3, 0.9), 0.0, "no difference shown"),
        ((1.2, 1.3, 1.25), 0.0, "higher"),
        ((1.01, 1.011, 1.009), 0.0025, "further apart than claimed"),
        ((1.001, 1.003, 0.999), 0.0025, "not told"),
        ((1.0, 1.0, 1.0), 0.0025, "within the claim"),
        ((1.0, 1.0, 1.0), 0.0, "no difference shown"),
        ((1.0, None, 1.0), 0.0, "not measured on both sides"),
        ((1.0, 1.0), 0.0, "not measured on both sides"),
        ((1.0, 1.0, 1.0, 1.0), 0.0, "not measured on both sides"),
    ],
)
def test_verdicts(values: tuple[float | None, ...], within: float, said: str) -> None:
    found = units(plain=(1.0, 1.0, 1.0), other=values)
    (contrast,) = contrasts(found, [Wanted("pretrain/other", "pretrain", "val_bpb", within)])
    assert contrast.verdict == said
    assert said in sentence(contrast)


def test_one_pair_tells_nothing_and_a_share_of_zero_is_none() -> None:
    wanted = Wanted("pretrain/other", "pretrain", "val_bpb")
    (contrast,) = contrasts(units(plain=(1.0,), other=(1.2,)), [wanted])
    assert (contrast.verdict, contrast.ci95, contrast.p_value) == ("not told: one pair", None, None)
    assert "no interval" in sentence(contrast)
    none = units(plain=(0.0, 0.0), other=(1.0, 1.1))
    absolute, claimed = contrasts(none, [wanted, dataclasses.replace(wanted, within=0.01)])
    assert absolute.shares == []
    assert absolute.mean == pytest.approx(1.05)
    assert claimed.verdict == "not measured on both sides"


def test_many_contrasts_raise_the_bar() -> None:
    found = units(plain=(1.0, 1.0, 1.0), other=(1.2, 1.3, 1.25))
    wanted = Wanted("pretrain/other", "pretrain", "val_bpb")
    alone, *together = contrasts(found, [wanted]) + contrasts(found, [wanted] * 9)
    assert alone.p_value is not None
    assert alone.adjusted == alone.p_value
    assert together[0].adjusted == pytest.approx(9 * alone.p_value)
    assert {c.verdict for c in together} == {"no difference shown (Holm)"}


def test_students_t_against_its_tables() -> None:
    known = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 10: 2.22814, 30: 2.04227}
    for df, point in known.items():
        assert t_point(0.05, df) == pytest.approx(point, abs=1e-4)
        assert t_two_sided(point, df) == t_two_sided(-point, df) == pytest.approx(0.05, abs=1e-5)
    assert t_two_sided(2.0, 4) == pytest.approx(0.116117, abs=1e-6)
    assert t_two_sided(0.0, 3) == 1.0
    assert t_two_sided(float("inf"), 7) == 0.0
    assert reach(3, 0.05) == pytest.approx(2.48414, abs=1e-5)
    assert t_interval([1.0]) is None


def test_the_page_is_worked_out_from_the_file_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "parts.json"
    assert main([str(folder), str(target)]) == 0
    page = target.with_suffix(".md").read_text()
    target.with_suffix(".md").unlink()
    assert main([str(target)]) == 0
    assert target.with_suffix(".md").read_text() == page == render(parse(target))
    assert dump(parse(target)) == target.read_text()
    stored = json.loads(target.read_text())
    assert stored["contrasts"][0]["mean"] == pytest.approx(-0.1)
    assert stored["contrasts"][1]["verdict"] == "within the claim"
    assert len(stored["units"]) == 9
    assert stored["environment"]["python"]
    assert capsys.readouterr().err == ""


def test_what_the_page_shows(folder: Path) -> None:
    page = re.sub(r"\\(.)", r"\1", render(read_ablation(folder)))
    assert page.startswith("# parts: the same training with parts changed\n\nMade up.\n")
    assert "reaches 2.48 standard deviations" in page
    assert "The first of 2 contrasts to pass Holm's correction needs a mean of 3.6 of them." in page
    assert "| pretrain | 3 | 1.6000 [1.5000, 1.7000] | 0.8000 [0.7500, 0.8500] |" in page
    assert "| pretrain/dense | architecture.n_routed_experts = 0 |" in page
    assert "| pretrain | 1 | 2.6000 | 1.6000 |" in page
    row = next(line for line in page.splitlines() if line.startswith("| bits per byte, held out, claim"))
    assert "| +0.100 %, +0.000 %, -0.100 % | " in row
    assert row.endswith("| 0.0261 | within the claim |")
    assert "FP8 is emulated" in page
    assert "nan" not in page


def test_what_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "x.json")
    assert main([str(folder), str(tmp_path / "x.txt")]) == 2
    assert main([str(tmp_path), target]) == 2
    assert main([str(tmp_path / "none.json")]) == 2
    (tmp_path / "scores.json").write_text('{"name": "scores"}')
    assert main([str(tmp_path / "scores.json")]) == 2
    laptop = begin_laptop(tmp_path / "laptop")
    assert main([str(laptop.path), target]) == 2
    laptop.status("finished")
    assert main([str(laptop.path), target]) == 2
    said = capsys.readouterr().err
    for words in ("kept in a .json", "is not a run folder", "can't read", "is not a study of pretraining"):
        assert words in said
    assert "only a finished study is kept" in said
    assert "has no pretrain stage" in said
    assert "Traceback" not in said
    assert not (tmp_path / "x.json").exists()


def test_a_value_that_was_not_finite_is_none(tmp_path: Path) -> None:
    made = open_run(tmp_path / "parts", resume=False)
    made.begin(RECIPE | {"contrast": []}, "shoestring run parts")
    pretrain(made, "", 0, float("nan"))
    made.status("finished")
    (unit,) = read_ablation(made.path).units
    assert unit.figures["val_bpb"] is None
    assert unit.curves["val_bpb"] == (None, None)
    assert unit.figures["loss"] is not None
    assert "Contrasts" not in render(read_ablation(made.path))
