"""studies/v3-ablations.toml: what each arm changes, that its contrasts can be made, a small run of it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from shoestring.budget.flops import token_flops
from shoestring.errors import BadInput
from shoestring.jobs.job_table import JOBS
from shoestring.jobs.pretrain_settings import PretrainSettings, planned_config
from shoestring.jobs.recipe import run
from shoestring.jobs.recipe_file import load_recipe
from shoestring.jobs.recipe_units import Unit, expand
from shoestring.models.config import ModelConfig
from shoestring.report.ablation import main
from shoestring.settings import build
from training_runs import TINY_V3

STUDY = Path(__file__).parents[1] / "studies" / "v3-ablations.toml"
ARMS = ["dense", "aux-loss", "no-balance", "no-mtp", "gqa", "mha", "fp8", "other-order"]


@pytest.fixture(scope="module")
def units() -> dict[tuple[str, int | None], Unit]:
    found = expand(load_recipe(STUDY, {}, "full"), JOBS)
    return {(unit.arm, unit.seed): unit for unit in found}


def config_of(unit: Unit) -> ModelConfig:
    values = {key: value for key, value in unit.resolved.items() if key != "job"}
    return planned_config(build(PretrainSettings, values, unit.title))


def test_every_arm_with_every_seed_on_one_tokenizer(units: dict[tuple[str, int | None], Unit]) -> None:
    seeds = [(arm, seed) for arm in ["", *ARMS] for seed in (0, 1, 2)]
    assert list(units) == [("", None), *seeds]
    assert all(units[key].needs == {"stage:tokenizer": units["", None]} for key in seeds)
    assert units["", 0].resolved["corpus"][0]["share_right"] == 1.0


def test_arms_change_what_they_are_named_for(units: dict[tuple[str, int | None], Unit]) -> None:
    plain = units["", 1].resolved

    def changed(arm: str) -> dict[str, Any]:
        own = units[arm, 1].resolved
        return {key: value for key, value in own.items() if value != plain[key]}

    assert changed("dense") == {"architecture": {"n_routed_experts": 0, "intermediate_size": 644}}
    still = plain["objectives"] | {"bias_update_speed": 0.0}
    assert plain["objectives"]["bias_update_speed"] == 1e-3
    assert changed("aux-loss") == {"objectives": still | {"balance_weight": 1e-2}}
    assert changed("no-balance") == {"objectives": still | {"balance_weight": 0.0}}
    assert changed("no-mtp") == {
        "architecture": {"num_nextn_predict_layers": 0},
        "objectives": plain["objectives"] | {"mtp_weight": 0.0, "mtp_weight_late": 0.0},
    }
    assert changed("gqa") == {"attention": "gqa"}
    assert changed("mha") == {"attention": "mha"}
    assert changed("fp8") == {"numerics": "fp8"}
    # the same sums in another order: a step's rows are then two micro-batches
    assert changed("other-order") == {"micro_batch_tokens": 4096}
    assert plain["micro_batch_tokens"] == plain["rows_per_step"] * plain["sequence_length"] == 2 * 4096


def test_dense_costs_a_token_what_experts_do(units: dict[tuple[str, int | None], Unit]) -> None:
    """Attention 180,224 weights a layer; 3 x 256 x 644 in 4 dense layers are 3 x 256 x 640 in each and three
    routers of 256 x 16."""
    dense, experts = config_of(units["dense", 0]), config_of(units["", 0])
    assert not dense.moe_layers
    assert len(experts.moe_layers) == 4  # MTP's among them
    assert token_flops(dense) == token_flops(experts) == 2 * 4 * (180_224 + 3 * 256 * 644) == 5_398_528


def test_every_arm_is_in_a_contrast_and_fp8_has_its_claim() -> None:
    recipe = load_recipe(STUDY, {}, "full")
    named = {side for c in recipe.contrasts for side in (c.of, c.against)}
    assert named == {"pretrain", *(f"pretrain/{arm}" for arm in ARMS)}
    claims = [(c.of, c.against, c.within) for c in recipe.contrasts if c.within]
    assert claims == [(f"pretrain/{arm}", "pretrain", 0.0025) for arm in ("fp8", "other-order")]
    again = recipe.to_toml()["contrast"]
    assert again[-2] == {"of": "pretrain/fp8", "against": "pretrain", "metric": "val_bpb", "within": 0.0025}


@pytest.mark.parametrize(
    ("contrast", "said"),
    [
        ({"of": "pretran"}, "no stage and arm 'pretran', did you mean 'pretrain'"),
        ({"against": "pretrain/dens"}, "no stage and arm 'pretrain/dens', did you mean 'pretrain/dense'"),
        ({"against": "tokenizer/dense"}, "no stage and arm 'tokenizer/dense'"),  # no arm changes it
        ({"metric": "val_bbp"}, "has no figure 'val_bbp', did you mean 'val_bpb'"),
        ({"of": "tokenizer"}, "'tokenizer' has no figure 'val_bpb'; pretrain stages have"),
        ({"against": "pretrain"}, "'pretrain' stands against itself"),
        ({"within": -1.0}, "within"),
        ({"seeds": [1]}, "unknown setting 'seeds'"),
        ({"metric": 3}, "metric"),
    ],
)
def test_a_contrast_that_can_never_be_made_is_refused(
    tmp_path: Path, contrast: dict[str, Any], said: str
) -> None:
    recipe = tomllib.loads(STUDY.read_text(encoding="utf-8"))
    good = {"of": "pretrain", "against": "pretrain/dense", "metric": "val_bpb"}
    recipe["contrast"] = [good, good | contrast]
    path = tmp_path / "x.toml"
    path.write_text(tomli_w.dumps(recipe))
    with pytest.raises(BadInput, match=said) as caught:
        run(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_whole_run_of_two_arms_and_two_seeds(tmp_path: Path) -> None:
    """The study's own arms on a model of a few thousand weights."""
    recipe = tomllib.loads(STUDY.read_text(encoding="utf-8"))
    chosen = {"pretrain", "pretrain/dense", "pretrain/gqa"}
    recipe["arm"] = [arm for arm in recipe["arm"] if arm["name"] in ("dense", "gqa")]
    recipe["contrast"] = [c for c in recipe["contrast"] if {c["of"], c["against"]} <= chosen]
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    recipe["stage"][1] |= {"architecture": TINY_V3 | heads, "seeds": [0, 1]}
    path, folder = tmp_path / "x.toml", tmp_path / "out"
    path.write_text(tomli_w.dumps(recipe))
    run(path, folder, scale="small", overrides={"pretrain.steps": 4, "pretrain.validation_every": 2})
    target = tmp_path / "x.json"
    assert main([str(folder), str(target)]) == 0
    kept = json.loads(target.read_text())
    assert [(unit["arm"], unit["seed"]) for unit in kept["units"]] == [
        (arm, seed) for arm in ("", "dense", "gqa") for seed in (0, 1)
    ]
    plain, dense, gqa = kept["units"][::2]
    assert plain["steps"] == dense["steps"] == [2, 4]
    assert {len(values) for values in plain["curves"].values()} == {2}
    assert plain["curves"]["val_bpb"][-1] == plain["figures"]["val_bpb"]
    assert len(plain["curves"]) == 3  # over all, and of two sources
    assert plain["figures"]["max_vio"] > 0
    assert dense["figures"]["max_vio"] is None
    assert gqa["settings"] == {"attention": "gqa"}
    assert gqa["sizes"]["cache_bytes_per_token"] == 2 * 2 * 16 * 2 * 2  # heads x 16, keys and values, layers
    assert plain["sizes"]["tokens"] == gqa["sizes"]["tokens"] == 4 * 2 * 64
    assert all(unit["sizes"]["training_flops_per_token"] > 0 for unit in kept["units"])
    assert [len(c["pairs"]) for c in kept["contrasts"]] == [2, 2]
    assert "pretrain/gqa" in target.with_suffix(".md").read_text()
