"""`shoestring export` as a user meets it."""

import json

import pytest
from typer.testing import CliRunner

from releases import CONFIGS, model_of, saved
from shoestring import cli
from shoestring.lm import load
from shoestring.models.gguf_file import GGUFFile
from shoestring.origin import Origin, Stage
from tiny import tiny_lm

runner = CliRunner()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("export"))


def call(*arguments):
    return runner.invoke(cli.app, ["export", *map(str, arguments)])


def test_a_gguf_file_with_what_was_proven(stage, tmp_path):
    out = tmp_path / "deep/out"
    done = call(
        stage, "--format", "gguf", "--type", "q8_0", "--output", out, "--base", stage.parent / "base",
        *("--tokens", "2", "--json", tmp_path / "r.json"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "proof: 32 prompts, 2 greedy tokens each" in done.output
    assert "proven to be zero" in done.output
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["verdict"], result["format"], result["type"]) == ("passed", "gguf", "q8_0")
    assert load(out / "zero-Q8_0.gguf").lineage.stages[-1].name == "zero"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "onnx"), "'format' = 'onnx'"),
        (("--format", "gguf", "--type", "q5_k"), "'type' = 'q5_k'"),
        (("--format", "hf", "--type", "q8_0"), "--type q8_0 is for --format gguf"),
        (("--format", "hf", "--tokens", "0"), "'tokens' = 0"),
        (("--format", "hf", "--transformers", "no-such-python"), "no program no-such-python"),
        (("--format", "gguf", "--llama-cpp", "no-such-server"), "no program no-such-server"),
    ],
)
def test_bad_input(stage, tmp_path, arguments, said):
    done = call(stage, *arguments, "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_an_existing_folder(stage, tmp_path):
    done = call(stage, "--format", "hf", "--output", tmp_path)
    assert done.exit_code == 2
    assert "exists already: choose another --output" in done.output


def test_what_is_no_model(tmp_path):
    (tmp_path / "m").mkdir()
    done = call(tmp_path / "m", "--format", "hf", "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "is not a model" in done.output


def test_a_tokenizer_that_llama_cpp_does_not_know(tmp_path):
    tiny_lm().save(tmp_path / "m")
    done = call(tmp_path / "m", "--format", "gguf", "--output", tmp_path / "out", "--tokens", "1")
    assert done.exit_code == 2
    assert "no merges" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_architecture_that_llama_cpp_does_not_know(tmp_path):
    model_of(CONFIGS["v2"]).save(tmp_path / "m")
    raw = json.loads((tmp_path / "m/config.json").read_text())
    groups = {"n_group": 2, "topk_method": "group_limited_greedy"}
    (tmp_path / "m/config.json").write_text(json.dumps(raw | groups))
    done = call(tmp_path / "m", "--format", "gguf", "--output", tmp_path / "out", "--tokens", "1")
    assert done.exit_code == 2
    assert "write --format hf" in done.output


@pytest.mark.parametrize("form", ["gguf", "hf"])
def test_an_export_has_the_name_and_shows_what_the_terms_ask_for(tmp_path, form):
    lm = model_of(CONFIGS["llama"])
    written = Origin("file:r.jsonl", "MIT", "Llama-3.1-8B")
    lm.lineage = lm.lineage.then(Stage("taught", "sft", "", origins=(written,)))
    lm.save(tmp_path / "zero")
    out = tmp_path / "out"
    done = call(tmp_path / "zero", "--format", form, "--output", out, "--tokens", "1")
    assert done.exit_code == 0, done.output
    assert "exported as Llama-zero" in " ".join(done.output.split())
    card = (out / "README.md").read_text()
    assert card.startswith("# Llama-zero\n\nBuilt with Llama\n")
    assert "README.md" in json.loads((out / "proof.json").read_text())["files"]
    if form == "gguf":
        (file,) = out.glob("Llama-zero-*.gguf")
        fields = GGUFFile(file).metadata
        assert fields["general.name"] == "Llama-zero"
        assert str(fields["general.description"]).startswith("Built with Llama ")
        assert str(fields["shoestring.terms"]).startswith("allowed: naming duty (llama)")
