"""Untrained models that read as another does, as students from scratch."""

from pathlib import Path

import pytest
import torch

from shoestring.errors import BadInput
from shoestring.jobs import init as job
from shoestring.jobs.recipe import run as run_recipe
from shoestring.lm import load
from shoestring.run import Stage
from shoestring.settings import build
from tiny import tiny_lm


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    tiny_lm().save(folder)
    return folder


def made(folder: Path, other: Path, **changed):
    values = {"preset": "tiny", "reads_as": str(other), "window": 128, "dtype": "float32"}
    with Stage(folder, "student") as stage:
        result = job.main(build(job.InitSettings, values | changed, "init"), stage)
    return load(folder / "model", dtype="float32"), result


def test_it_reads_as_the_other_and_the_same_seed_is_the_same_model(other, tmp_path):
    lm, result = made(tmp_path / "a", other)
    known = load(other, dtype="float32")
    assert lm.tokenizer.first_difference(known.tokenizer) is None
    assert lm.template.source == known.template.source
    assert lm.template.stop_ids == known.template.stop_ids
    assert (lm.config.model_type, lm.config.max_position_embeddings) == ("deepseek_v3", 128)
    assert result["parameters"] == sum(p.numel() for n, p in lm.network.named_parameters() if "mtp" not in n)
    again, _ = made(tmp_path / "b", other)
    apart, _ = made(tmp_path / "c", other, seed=1)
    first = [model.network.embed_tokens for model in (lm, again, apart)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    (stage,) = lm.lineage.stages
    assert (stage.job, stage.origins) == ("init", ())


def test_what_cant_be_is_refused(other, tmp_path):
    with pytest.raises(BadInput, match="did you mean 'tiny'"):
        job.check(build(job.InitSettings, {"preset": "tinny", "reads_as": str(other)}, "init"))
    with pytest.raises(BadInput, match=r"less than the tokenizer's"):
        made(tmp_path, other, architecture={"vocab_size": 8})


def test_a_recipe_teaches_a_student_from_scratch(other, tmp_path):
    recipe = tmp_path / "x.toml"
    recipe.write_text(f"""
[recipe]
name = "x"
[[stage]]
name = "student"
job = "init"
preset = "tiny"
reads_as = "{other}"
window = 128
[[stage]]
name = "taught"
job = "sft"
model = "stage:student"
suites = ["sums:max_terms=2,max_digits=1"]
steps = 2
rows_per_step = 2
""")
    report = run_recipe(recipe, tmp_path / "run")
    assert report.base == "made from nothing by stage student"
    names = [stage.job for stage in load(tmp_path / "run", dtype="float32").lineage.stages]
    assert names == ["init", "sft"]
