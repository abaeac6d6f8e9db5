"""Pretraining: what it learns from, that it goes on with the same bits, and what it refuses."""

import dataclasses
import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from shoestring.errors import BadInput, Interrupted
from shoestring.jobs.pretrain_data import TokenRows, held_out
from shoestring.jobs.pretrain_model import new_model, stretched
from shoestring.jobs.pretrain_settings import check, plain_attention
from shoestring.lm import load
from shoestring.model_files import load_template
from shoestring.models.config import RopeScaling
from shoestring.models.presets import PRESETS
from shoestring.models.rope import rope_factor, softmax_scale
from shoestring.origin import Lineage
from shoestring.origin import Stage as LineageStage
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.text.declared import lineage_file
from shoestring.text.train_tokenizer import BOS, EOS
from tiny_v3 import v3_config
from training_runs import (
    metrics,
    pretrain_settings,
    run,
    same,
    save_tokenizer,
    timeless,
    weights,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer") / "t")


def stop_after(step: int, patched: pytest.MonkeyPatch) -> None:
    """Ctrl-C once that step is logged."""
    real = Stage.log

    def log(self: Stage, number: int, values: dict[str, float]) -> None:
        real(self, number, values)
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)

    patched.setattr(Stage, "log", log)


def test_a_stopped_run_goes_on_with_the_same_bits(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, the routers' biases, the rows that wait to be filled, the ramp and the late weights."""
    settings = pretrain_settings(tokenizer)
    whole = run(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_after(3, patched)
        with pytest.raises(Interrupted, match="after step 3"):
            run(settings, tmp_path / "cut")
    assert run(settings, tmp_path / "cut", resume=True) == whole
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "cut")


def test_a_stop_in_the_last_step_lets_it_end(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that step measured is in the result and in no saved state."""
    settings = pretrain_settings(tokenizer, steps=3)
    whole = run(settings, tmp_path / "whole")
    stop_after(3, monkeypatch)
    assert run(settings, tmp_path / "stopped") == whole
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_a_tokenizer_that_changed_meanwhile_is_refused(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(tokenizer, tmp_path / "tokenizer")
    settings = pretrain_settings(own)
    with monkeypatch.context() as patched:
        stop_after(2, patched)
        with pytest.raises(Interrupted):
            run(settings, tmp_path / "cut")
    raw = json.loads((own / "tokenizer.json").read_text())
    vocabulary = raw["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (own / "tokenizer.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput, match="the tokenizer has changed since the state was saved"):
        run(settings, tmp_path / "cut", resume=True)


def test_what_a_run_tells(tokenizer: Path, tmp_path: Path) -> None:
    result = run(pretrain_settings(tokenizer), tmp_path / "run")
    rows = metrics(tmp_path / "run")
    assert [row["num_tokens"] for row in rows] == [48, 48, 96, 144, 144, 144]  # the ramp
    assert all(row["max_vio"] >= 0 and row["mtp_loss"] > 0 for row in rows)
    assert rows[2]["val_bpb"] > rows[5]["val_bpb"] > 0
    assert {"documents", "documents_split", "val_bpb", "mtp_acceptance"} <= result.keys()
    assert sorted(p.name for p in (tmp_path / "run/rollouts").iterdir()) == [
        "step-000003.parquet",
        "step-000006.parquet",
    ]
    biases = [v for k, v in weights(tmp_path / "run").items() if k.endswith("correction_bias")]
    assert len(biases) == 2
    assert all(b.dtype == torch.float32 and b.abs().max() > 0 for b in biases)
    lineage = load(tmp_path / "run").lineage
    assert lineage.stages[-1].job == "pretrain"
    assert lineage.stages[-1].origins


def test_bits_are_per_byte_of_text_and_of_documents_laid_as_in_training(tokenizer: Path) -> None:
    """Roles, <think> and end of text are predicted and spell no text."""
    settings = pretrain_settings(tokenizer, sequence_length=400)
    names, template = load_template(tokenizer)
    rows = TokenRows(settings.corpus, settings.seed, names, template, settings.sequence_length)
    (worked,) = [part for part in held_out(rows, 8) if part.source.startswith("worked")]
    documents = [d for source in rows.sources for d in source.validation(8) if d.messages is not None]
    size = 0
    for document in documents[: len(worked.texts)]:
        question, answer = document.messages
        # the template writes a line break after <think> and two around </think>
        size += len((question["content"] + answer["reasoning_content"] + answer["content"]).encode()) + 3
    assert worked.num_bytes == size
    begin, end = names.token_id(BOS), names.token_id(EOS)
    assert all(ids[0] == begin and ids[-1] == end for ids in worked.texts)
    assert all(ids.count(begin) == ids.count(end) == 1 for ids in worked.texts)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": ""}, "either preset"),
        ({"tokenizer": ""}, "a preset needs a tokenizer"),
        ({"yarn_factor": 2.0}, "yarn_factor stretches the window of a model"),
        ({"preset": "tinny"}, "tiny"),
        ({"architecture": {"kv_lora_rnk": 4}}, "kv_lora_rank"),
        ({"architecture": {"num_experts_per_tok": 99}}, "num_experts_per_tok 99 must lie between"),
        ({"architecture": {"n_group": 3}}, "not a multiple of n_group 3"),
        ({"architecture": {"scoring_func": "softmax"}}, "'softmax' is model_type deepseek_v2's"),
        ({"architecture": {"model_type": "llama"}}, "can't be kept in a llama folder"),
        ({"architecture": {"model_type": "gpt"}}, "model_type 'gpt' is none of"),
        ({"architecture": {"num_experts_per_tok": 2.0}}, "should be int"),
        ({"architecture": {"norm_topk_prob": "yes"}}, "should be bool"),
        ({"architecture": {"rope_scaling": {"factor": 2}}}, "should be RopeScaling"),
        ({"architecture": {"routed_scaling_factor": float("nan")}}, "a finite number above 0"),
        ({"architecture": {"n_shared_experts": -1}}, "must not be negative"),
        ({"ramp_steps": 0}, "both or neither"),
        ({"ramp_rows_from": 9}, "more than rows_per_step 3"),
        ({"corpus": [{"kind": "files", "path": "nowhere"}]}, "no such file or folder of texts: nowhere"),
        ({"corpus": [{"kind": "worked", "suites": ["sumz"]}]}, "sums"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(
    tokenizer: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        check(pretrain_settings(tokenizer, **changes))


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ({"kind": "files", "path": "nowhere"}, "nowhere"),
        ({"kind": "files"}, "a path is what 'files' needs"),
        ({"kind": "worked"}, "suites are what 'worked' needs"),
        ({"kind": "worked", "suites": ["sumz"]}, "sums"),
    ],
)
def test_a_corpus_that_cannot_be_read(
    tokenizer: Path, tmp_path: Path, corpus: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        run(pretrain_settings(tokenizer, corpus=[corpus]), tmp_path / "run")


def files(path: Path) -> dict[str, Any]:
    return {"kind": "files", "path": str(path), "licence": "MIT"}


def test_texts_without_an_origin_or_by_a_barred_teacher_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("words " * 500)
    corpus = [files(text) | {"licence": ""}]
    with pytest.raises(BadInput, match=r"nothing says what licence.*shoestring audit"):
        run(pretrain_settings(tokenizer, corpus=corpus), tmp_path / "a")
    (tmp_path / "text.txt.origin.toml").write_text('source = "x"\nlicence = "MIT"\nteacher = "gpt-4o"\n')
    with pytest.raises(BadInput, match=r"teacher 'gpt-4o': OpenAI bars"):
        run(pretrain_settings(tokenizer, corpus=corpus), tmp_path / "a")


def test_texts_that_a_model_wrote_are_judged_and_reach_the_lineage(tokenizer: Path, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    corpus = [{"kind": "files", "path": str(path), "licence": "MIT"}]
    for teacher, sha256 in (("gpt-4", ""), ("mine", "ab")):
        rows = (
            {"text": f"{i} and {i + 1}. " * 9, "teacher": teacher, "teacher_sha256": sha256}
            for i in range(60)
        )
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if teacher == "gpt-4":
            with pytest.raises(BadInput, match=r"d\.jsonl: teacher 'gpt-4': OpenAI bars"):
                run(pretrain_settings(tokenizer, corpus=corpus, steps=1), tmp_path / "a")
    stages = (LineageStage("pretrain", "pretrain", ""),)
    lineage_file(path).write_text(json.dumps(Lineage((), {"ab": stages}).to_json()))
    run(pretrain_settings(tokenizer, corpus=corpus, steps=1), tmp_path / "b")
    lineage = Lineage.load(tmp_path / "b/model")
    assert [origin.teacher for origin in lineage.stages[-1].origins] == ["mine"]
    assert lineage.teachers == {"ab": stages}


def test_an_empty_corpus_and_documents_longer_than_a_row(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("")
    with pytest.raises(BadInput, match="no text to train on"):
        run(
            pretrain_settings(tokenizer, corpus=[{"kind": "files", "path": str(text), "licence": "MIT"}]),
            tmp_path / "a",
        )
    text.write_text("\n---\n".join(f"{i} is a number, {i + 1} is the next one. " * 4 for i in range(60)))
    corpus = [files(text) | {"separator": "---"}]
    said: list[str] = []
    monkeypatch.setattr(Stage, "say", lambda _, line: said.append(line))
    result = run(pretrain_settings(tokenizer, corpus=corpus, steps=2), tmp_path / "b")
    assert result["documents_over_a_row"] == result["documents"] > 0
    assert any(f"{result['documents']} longer than a row of 48 tokens" in line for line in said)


def test_without_a_held_out_document_there_are_no_bits_per_byte(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one text alone, and it is trained on. " * 40)
    said: list[str] = []
    monkeypatch.setattr(Stage, "say", lambda _, line: said.append(line))
    result = run(
        pretrain_settings(
            tokenizer, corpus=[{"kind": "files", "path": str(text), "licence": "MIT"}], steps=2
        ),
        tmp_path / "r",
    )
    assert "val_bpb" not in result
    assert "no document of file:text.txt is held out: bits per byte say nothing of it" in said


def test_a_model_goes_on_over_a_longer_window(tokenizer: Path, tmp_path: Path) -> None:
    run(pretrain_settings(tokenizer, steps=2), tmp_path / "first")
    again = {"preset": "", "tokenizer": "", "architecture": {}, "model": str(tmp_path / "first"), "steps": 2}
    with pytest.raises(BadInput, match="give a yarn_factor"):
        run(pretrain_settings(tokenizer, **again, sequence_length=96), tmp_path / "refused")
    settings = pretrain_settings(tokenizer, **again, sequence_length=96, yarn_factor=2.0)
    run(settings, tmp_path / "longer")
    lm = load(tmp_path / "longer")
    assert lm.config.max_position_embeddings == 96
    assert lm.config.rope_scaling is not None
    assert lm.config.rope_scaling.factor == 2.0
    assert len(lm.lineage.stages) == 2


def test_another_tokenizer_is_told_by_its_tokens(tokenizer: Path, tmp_path: Path) -> None:
    """Of the same size: what tells them apart is the strings."""
    run(pretrain_settings(tokenizer, steps=1), tmp_path / "first")
    raw = (tokenizer / "tokenizer.json").read_text()
    other = tmp_path / "other"
    shutil.copytree(tokenizer, other)
    (other / "tokenizer.json").write_text(raw.replace('"<think>"', '"<thinks>"'))
    changed = {"preset": "", "architecture": {}, "model": str(tmp_path / "first"), "steps": 1}
    with pytest.raises(BadInput, match="'<think>' in one and '<thinks>' in the other"):
        run(pretrain_settings(other, **changed), tmp_path / "second")
    run(pretrain_settings(tokenizer, **changed), tmp_path / "third")


@pytest.mark.parametrize("attention", ["mla", "gqa"])
def test_a_stretched_model_has_yarns_temperature(attention: Literal["mla", "gqa"]) -> None:
    """0.1 ln s + 1 squared in the scores: in their scale with latent attention, else in cos and sin, which
    meet twice."""
    config = v3_config(max_position_embeddings=64)
    config = config if attention == "mla" else plain_attention(config, attention)
    longer = stretched(config, 4.0)
    scores = softmax_scale(longer) / softmax_scale(config) * rope_factor(longer) ** 2
    assert scores == pytest.approx((0.1 * math.log(4.0) + 1) ** 2)


def test_a_preset_of_a_stretched_model_is_not_stretched_within_its_first_window(tokenizer: Path) -> None:
    yarn = RopeScaling("yarn", 40.0, original_max_position_embeddings=64, mscale=1.0, mscale_all_dim=1.0)
    published = dataclasses.replace(PRESETS["tiny"], rope_scaling=yarn)
    for length, scaling in ((64, None), (96, yarn)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(PRESETS, "published", published)
            settings = pretrain_settings(tokenizer, preset="published", sequence_length=length)
            assert new_model(settings).config.rope_scaling == scaling


def test_stretching_once_is_enough() -> None:
    config = stretched(v3_config(max_position_embeddings=64), 4.0)
    assert config.max_position_embeddings == 256
    with pytest.raises(BadInput, match="stretched already"):
        stretched(config, 2.0)


def test_fp8_is_another_run_that_stays_close(tokenizer: Path, tmp_path: Path) -> None:
    losses = {}
    for numerics in ("weights", "fp8"):
        run(pretrain_settings(tokenizer, numerics=numerics, steps=4), tmp_path / numerics)
        losses[numerics] = [row["loss"] for row in metrics(tmp_path / numerics)]
    assert losses["fp8"] != losses["weights"]
    assert losses["fp8"] == pytest.approx(losses["weights"], rel=0.02)


def test_the_model_loads_in_transformers_with_the_same_logits(tokenizer: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run(pretrain_settings(tokenizer, steps=2), tmp_path / "run")
    folder = tmp_path / "run/model"
    ids = torch.arange(5, 40)[None]
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lm = load(folder, dtype="float32")
    with torch.no_grad():
        assert (theirs(ids).logits - lm.logits(ids)).abs().max() < 1e-4
    text = "How many?\n 12 + 30"
    assert AutoTokenizer.from_pretrained(folder)(
        text, add_special_tokens=False
    ).input_ids == lm.tokenizer.encode(text)


def test_settings_say_what_is_unknown(tokenizer: Path) -> None:
    from shoestring.jobs.pretrain_settings import PretrainSettings

    with pytest.raises(BadInput, match="rows_per_step"):
        build(PretrainSettings, {"rows_per_stepp": 3, "corpus": [], "steps": 1}, "pretrain")
