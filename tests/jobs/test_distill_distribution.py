"""A student of a few thousand weights learns another's distributions, live and from the disk."""

import json
from pathlib import Path

import pytest

from shoestring.distill.store import read_manifest
from shoestring.distill.teacher import name_of
from shoestring.distill.vocabulary import transplant
from shoestring.errors import BadInput, ShoestringError
from shoestring.jobs import distill_distribution as job
from shoestring.jobs import distill_store
from shoestring.lm import load
from shoestring.origin import Lineage, Origin
from shoestring.origin import Stage as LineageStage
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.text.template import Template
from tiny import CHATML, byte_tokenizer, tiny_lm
from training_runs import (
    ON_ROWS,
    killed,
    metrics,
    run,
    same,
    save_base,
    save_teacher,
    timeless,
    weights,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher"))


def settings(base: Path, teacher: Path | str, **changed) -> job.DistributionSettings:
    values = {"model": str(base), "teacher": str(teacher), **ON_ROWS, "keep": 16}
    return build(job.DistributionSettings, values | changed, "distill")


@pytest.mark.parametrize("keep", [0, 16], ids=["live", "stored"])
@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
def test_the_student_comes_nearer(base, teacher, tmp_path, name, keep):
    run(settings(base, teacher, steps=15, keep=keep, divergence={"name": name}), tmp_path / "s")
    rows = metrics(tmp_path / "s")
    assert rows[-1]["divergence"] < 0.7 * rows[0]["divergence"]
    assert rows[0]["loss"] == pytest.approx(rows[0]["divergence"])
    own = Lineage.load(tmp_path / "s/model").stages[-1]
    assert own.job == "distill"
    assert own.detail["teacher"] == name_of(load(teacher))
    assert len(own.detail["teacher_sha256"]) == 64
    assert ("KL" in own.detail["loss"]) == (name != "jsd")


def test_all_tokens_stored_are_the_live_teacher(base, teacher, tmp_path):
    """But for float16."""
    for name, keep in (("live", 0), ("stored", 10_000)):
        run(settings(base, teacher, keep=keep), tmp_path / name)
    live, stored = (metrics(tmp_path / name) for name in ("live", "stored"))
    assert [r["loss"] for r in stored] == pytest.approx([r["loss"] for r in live], rel=5e-3)
    assert read_manifest(tmp_path / "stored/teacher").k == tiny_lm().config.vocab_size


def test_mixed_with_cross_entropy_both_are_shown(base, teacher, tmp_path):
    run(settings(base, teacher, divergence={"cross_entropy": 0.25}), tmp_path / "s")
    for row in metrics(tmp_path / "s"):
        assert row["loss"] == pytest.approx(0.75 * row["divergence"] + 0.25 * row["cross_entropy"], rel=1e-4)


def test_size_and_bound_are_said_before_a_shard_is_written(base, teacher, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(Stage, "say", lambda _self, text: said.append(text))

    def never(*_: object) -> int:
        raise ShoestringError("not written")

    monkeypatch.setattr(distill_store.LogprobStore, "write", never)
    with pytest.raises(ShoestringError, match="not written"):
        run(settings(base, teacher), tmp_path / "s")
    text = "\n".join(said)
    assert "16 of 259 tokens at temperature 1, 72 bytes a token" in text
    assert "in the mean of these" in text
    assert "too low by at most" in text
    said.clear()
    with pytest.raises(ShoestringError, match="not written"):
        run(settings(base, teacher, divergence={"tail": "dropped"}), tmp_path / "dropped")
    text = "\n".join(said)
    assert "has no bound here" in text
    assert "at most 0." not in text
    plan = json.loads((tmp_path / "s/store.json").read_text())
    assert 0 < plan["mass"] <= plan["mass_max"] < 1
    assert plan["jsd"] <= 0.7 * plan["mass_max"]
    assert plan["rounding"] < 1e-4


def test_a_store_serves_other_runs_and_without_its_teacher(base, teacher, tmp_path):
    store = str(tmp_path / "store")
    run(settings(base, teacher, store=store), tmp_path / "a")
    shards = {p: p.stat().st_mtime_ns for p in Path(store).glob("shard-*")}
    run(settings(base, teacher, store=store), tmp_path / "b")
    run(settings(base, "", store=store), tmp_path / "c")
    assert {p: p.stat().st_mtime_ns for p in Path(store).glob("shard-*")} == shards
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert same(a, b)
    assert same(a, c)
    with pytest.raises(ShoestringError, match="no logprobs of row"):
        run(settings(base, "", store=store, steps=40), tmp_path / "d")
    with pytest.raises(BadInput, match=r"temperature there 1\.0, here 2\.0"):
        run(settings(base, "", store=store, divergence={"temperature": 2.0}), tmp_path / "e")


def test_another_teachers_store_is_refused(base, teacher, tmp_path):
    store = str(tmp_path / "store")
    run(settings(base, teacher, store=store), tmp_path / "a")
    tiny_lm(seed=8).save(tmp_path / "other")
    with pytest.raises(BadInput, match="weights of the teacher there"):
        run(settings(base, tmp_path / "other", store=store), tmp_path / "b")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher": ""}, "name a teacher"),
        ({"teacher": "", "store": "x", "tokenizer": "teacher"}, "needs the teacher itself"),
        ({"keep": 0, "store": "x"}, "leave out store"),
        ({"suites": []}, "either suites or data"),
    ],
)
def test_settings_that_dont_fit_together(base, teacher, changed, message):
    with pytest.raises(BadInput, match=message):
        job.check(settings(base, **({"teacher": teacher} | changed)))


KILLED = """
import sys
from pathlib import Path
from unittest.mock import patch
import os
from killed_runs import killing
from shoestring.distill import store
from shoestring.jobs import distill_store
from shoestring.run import Stage
from test_distill_distribution import run, settings
distill_store.SHARD_TOKENS = 60
owner, attribute, call = {point}
with patch.object(owner, attribute, killing(getattr(owner, attribute), call)):
    run(settings({base!r}, {teacher!r}), Path({out!r}))
"""


@pytest.mark.parametrize(
    "point", ["(store.safetensors.numpy, 'save', 3)", "(Stage, 'log', 6)"], ids=["in-a-shard", "in-a-step"]
)
def test_killed_anywhere_it_goes_on_to_the_same_bits(base, teacher, tmp_path, point, monkeypatch):
    monkeypatch.setattr(distill_store, "SHARD_TOKENS", 60)
    run(settings(base, teacher), tmp_path / "whole")
    where = {"base": str(base), "teacher": str(teacher)}
    code = KILLED.format(point=point, out=str(tmp_path / "cut"), **where)
    killed(code)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cut/teacher").glob("shard-*")}
    assert len(kept) >= 2
    run(settings(base, teacher), tmp_path / "cut", resume=True)
    shards = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cut/teacher").glob("shard-*")}
    assert kept.items() <= shards.items()  # nothing is made twice
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")


def test_a_student_given_its_teachers_tokenizer(base, tmp_path):
    tokenizer = byte_tokenizer([("a", "b")])
    template = Template(tokenizer, CHATML, (tokenizer.vocabulary["<|im_end|>"],))
    teacher = tmp_path / "teacher"
    transplant(tiny_lm(seed=7), tokenizer, template).lm.save(teacher)
    with pytest.raises(BadInput, match=r"vocabularies .* differ: .*'ab'"):
        run(settings(base, teacher), tmp_path / "refused")
    run(settings(base, teacher, tokenizer="teacher", steps=10), tmp_path / "s")
    rows = metrics(tmp_path / "s")
    assert rows[-1]["divergence"] < rows[0]["divergence"]


def barred_teacher(folder: Path) -> Path:
    """A model that was taught by one whose terms bar passing that on."""
    lm = tiny_lm(seed=7)
    written = Origin("file:chats.jsonl", "CC0-1.0", teacher="gpt-4o")
    lm.lineage = lm.lineage.then(LineageStage("taught", "sft", "2026-01-01", origins=(written,)))
    lm.save(folder)
    return folder


def test_a_teacher_whose_terms_bar_it_is_refused_and_a_permission_goes_into_the_lineage(base, tmp_path):
    teacher = barred_teacher(tmp_path / "barred")
    for keep in (0, 16):
        with pytest.raises(BadInput, match=r"gpt-4o.*OpenAI.*'permission' in the settings"):
            run(settings(base, teacher, keep=keep), tmp_path / f"refused-{keep}")
    store = str(tmp_path / "store")
    given = "Ann Example, 2026-01-01"
    run(settings(base, teacher, steps=1, permission=given, store=store), tmp_path / "allowed")
    run(settings(base, "", steps=1, store=store), tmp_path / "stored")
    for name in ("allowed", "stored"):
        lineage = Lineage.load(tmp_path / name / "model")
        (origin,) = [o for o in lineage.stages[-1].origins if o.teacher]
        assert origin.terms == "permitted: Ann Example, 2026-01-01"
        assert [stage.name for stage in lineage.teachers[origin.teacher_sha256]][-1] == "taught"


def test_stored_probabilities_of_a_barred_teacher_are_refused_until_permitted(base, teacher, tmp_path):
    store = tmp_path / "store"
    run(settings(base, teacher, steps=1, store=str(store)), tmp_path / "a")
    known = {"origin": Origin("probabilities", "MIT", "gpt-4").to_json(), "lineage": Lineage().to_json()}
    (store / job.TEACHER).write_text(json.dumps(known))
    with pytest.raises(BadInput, match=r"teacher 'gpt-4'.*'permission' in the settings"):
        run(settings(base, "", steps=1, store=str(store)), tmp_path / "b")
    run(settings(base, "", steps=1, store=str(store), permission="Ann Example, 2026-01-01"), tmp_path / "c")
    (origin,) = [o for o in Lineage.load(tmp_path / "c/model").stages[-1].origins if o.teacher]
    assert origin.terms == "permitted: Ann Example, 2026-01-01"


def test_stored_probabilities_of_nobody_are_refused(base, teacher, tmp_path):
    run(settings(base, teacher, steps=1, store=str(tmp_path / "store")), tmp_path / "a")
    (tmp_path / "store" / job.TEACHER).unlink()
    with pytest.raises(BadInput, match="doesn't say whose probabilities"):
        run(settings(base, "", steps=1, store=str(tmp_path / "store")), tmp_path / "b")
