"""Loading from anywhere, saving for anyone."""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers

import shoestring
from chat_shapes import byte_level, random_conversations, write_tokenizer
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel, load
from shoestring.model_files import model_folder
from shoestring.models.bases import BASES
from shoestring.models.checkpoint import write_checkpoint
from shoestring.models.config import ModelConfig
from shoestring.models.gguf import INNER, public_name
from shoestring.models.transformer import Transformer
from shoestring.ops.hardware import native_bf16
from shoestring.origin import Lineage, Stage

IDS = torch.arange(60).view(2, 30)


def write_model(folder: Path, seed: int = 0, vocab_size: int = 600) -> Path:
    """A model folder as it comes from elsewhere: no lineage."""
    config = ModelConfig(
        model_type="llama",
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.3,
        tie_word_embeddings=True,
        eos_token_id=(2,),
    )
    network = Transformer(config)
    network.init_weights(seed)
    write_checkpoint(network, folder)
    write_tokenizer(folder, "smollm2")
    return folder


def test_a_folder_from_elsewhere(tmp_path):
    lm = load(write_model(tmp_path / "someones-model"), dtype="float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "someones-model", dtype=torch.float32
    )
    with torch.inference_mode():
        expected = model(IDS).logits
    assert expected.std() > 0.5
    assert (lm.logits(IDS) - expected).abs().max() <= 1e-4
    assert (lm.name, lm.dtype, lm.device) == ("someones-model", torch.float32, torch.device("cpu"))
    assert lm.lineage.stages[0].job == "unknown"
    assert lm.template.stop_ids == (2,)
    assert lm.tokenizer.pad_id == lm.tokenizer.token_id("<|reserved_0|>")


def test_a_saved_model_is_whole_here_and_in_transformers(tmp_path):
    lm = load(write_model(tmp_path / "a"), dtype="float32")
    lm.lineage = Lineage(
        (
            Stage(
                "base",
                "base",
                "",
                {"copy_of": "Org/Original", "licence": "Apache-2.0", "precision": "4-bit copy"},
            ),
            Stage("cold-start", "sft", "2026-01-01T00:00:00+00:00", {"steps": 3}),
        )
    )
    lm.save(tmp_path / "b")
    again = load(tmp_path / "b", dtype="float32")
    assert torch.equal(again.logits(IDS), lm.logits(IDS))
    assert again.lineage == lm.lineage
    assert again.config == lm.config
    assert again.template.source == lm.template.source
    assert again.tokenizer.pad_id == lm.tokenizer.pad_id

    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    with torch.inference_mode():
        assert (model(IDS).logits - lm.logits(IDS)).abs().max() <= 1e-4
    assert model.generation_config.eos_token_id == [2]
    assert model.generation_config.pad_token_id == lm.tokenizer.pad_id == tokenizer.pad_token_id
    for messages in random_conversations(20, seed=1):
        ids = tokenizer.apply_chat_template(messages, return_dict=False)
        assert lm.template.render(messages).ids == ids

    note = (tmp_path / "b" / "LICENSE").read_text()
    assert "Made from Org/Original, used here as a 4-bit copy." in note
    assert "Apache-2.0" in note
    assert not (tmp_path / "a" / "LICENSE").exists()


def test_bfloat16_and_auto(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "m")
    assert load(folder, dtype="bfloat16").dtype == torch.bfloat16
    assert load(folder, dtype="bfloat16").logits(IDS).dtype == torch.float32
    assert load(folder).dtype == (torch.bfloat16 if native_bf16("cpu") else torch.float32)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert load(folder).dtype == torch.float32


def test_a_gguf_file(tmp_path):
    """Weights, tokenizer and template of one file; the weights are F32, so the logits are the very same."""
    source = load(write_model(tmp_path / "m", vocab_size=512), dtype="float32")
    path = tmp_path / "tiny-model.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    c = source.config
    for key, value in (
        ("block_count", c.num_hidden_layers),
        ("context_length", 128),
        ("embedding_length", c.hidden_size),
        ("feed_forward_length", c.intermediate_size),
        ("attention.head_count", c.num_attention_heads),
        ("attention.head_count_kv", c.num_key_value_heads),
    ):
        writer.add_uint32(f"qwen2.{key}", value)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    for key, value in byte_level("smollm").items():
        add = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}[type(value)]
        add(key, value)
    names = {public_name(name): name for name in gguf_names(c.num_hidden_layers)}
    tensors = dict(source.network.public_tensors())
    for name, stored in names.items():
        if name in tensors:
            writer.add_tensor(stored, tensors[name].numpy())
    for i in range(c.num_hidden_layers):  # Qwen2 has biases there
        for part, heads in (("q", c.num_attention_heads), ("k", 2), ("v", 2)):
            writer.add_tensor(f"blk.{i}.attn_{part}.bias", np.zeros(heads * c.head_dim, np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        step()
    writer.close()
    lm = load(path, dtype="float32")
    assert torch.equal(lm.logits(IDS), source.logits(IDS))
    assert (lm.name, lm.config.model_type, lm.tokenizer.max_length) == ("tiny-model", "qwen2", 128)
    assert lm.lineage.stages[0].detail == {
        "file": "tiny-model.gguf",
        "licence": "unknown",
        "precision": "GGUF, F32",
    }
    said = 'source = "me/tiny"\nlicence = "MIT"\nteacher = "gpt-4"\n'
    path.with_name(f"{path.name}.origin.toml").write_text(said)
    base, taught = load(path).lineage.stages
    assert (base.job, base.detail["copy_of"], base.detail["licence"]) == ("base", "me/tiny", "MIT")
    assert [origin.teacher for origin in taught.origins] == ["gpt-4"]
    for messages in random_conversations(20, seed=2):
        assert lm.template.render(messages).ids == source.template.render(messages).ids


def gguf_names(num_layers: int) -> list[str]:
    inner = [f"blk.{i}.{name}.weight" for i in range(num_layers) for name in INNER]
    return [*inner, "token_embd.weight", "output_norm.weight"]


def test_stages_and_runs(tmp_path):
    """The last stage by name that has a model; one that has none yet, or only a half one, is passed over."""
    run = tmp_path / "run"
    for number, stage in ((1, "01-zero"), (2, "02-cold-start")):
        write_model(run / "stages" / stage / "model", seed=number)
    (run / "stages" / "03-grpo" / "model.tmp").mkdir(parents=True)
    (run / "stages" / "04-eval").mkdir()
    assert model_folder(run) == run / "stages" / "02-cold-start" / "model"
    expected = load(run / "stages" / "02-cold-start" / "model", dtype="float32").logits(IDS)
    assert torch.equal(load(run, dtype="float32").logits(IDS), expected)
    assert not torch.equal(load(run / "stages" / "01-zero", dtype="float32").logits(IDS), expected)
    assert load(str(run)).name == "run"


def test_a_run_whose_models_lie_in_units(tmp_path):
    write_model(tmp_path / "run" / "stages" / "01-zero" / "main" / "seed-1" / "model")
    with pytest.raises(BadInput, match=r"name one of its units, such as .*seed-1$"):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("http://localhost:8000/v1#m", "is a server; its weights can't be loaded"),
        ("https://host/v1", "is a server"),
        ("smollm2-153m", "no model 'smollm2-153m': .* did you mean 'smollm2-135m'"),
        ("/no/such/folder", "no such file or folder"),
        (".", "is not a model: it has no config.json"),
        ("pyproject.toml", "is not a GGUF file"),
    ],
)
def test_what_is_no_model(model, says, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    with pytest.raises(BadInput, match=says) as caught:
        load(model)
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_exist(tmp_path):
    folder = write_model(tmp_path / "m")
    with pytest.raises(BadInput, match="dtype 'bfloat' is not supported, did you mean 'bfloat16'"):
        load(folder, dtype="bfloat")
    with pytest.raises(BadInput, match="device 'gpu' is not known"):
        load(folder, device="gpu")


def test_tokenizer_and_model_that_do_not_belong_together(tmp_path):
    with pytest.raises(BadInput, match="the tokenizer has 448 ids but the model only 300"):
        load(write_model(tmp_path / "m", vocab_size=300))


def test_a_missing_base_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOESTRING_HOME", str(tmp_path))
    with pytest.raises(BadInput, match=r"fetch it with: shoestring get smollm2-135m$"):
        load("smollm2-135m")
    (tmp_path / "smollm2-135m.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadInput, match=r"is not the file it should be .* shoestring get smollm2-135m$"):
        load("smollm2-135m")


def test_a_disk_that_is_full(tmp_path):
    lm = load(write_model(tmp_path / "m"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShoestringError, match=r"can't save the model in .*file"):
        lm.save(tmp_path / "file")


def test_the_door_opens_without_torch():
    code = "import sys, shoestring; assert 'torch' not in sys.modules; shoestring.load; import torch"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert shoestring.load is load
    assert shoestring.LanguageModel is LanguageModel
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = shoestring.lode


def test_run_stays_the_function():
    """Importing the module of that name must not put it in the function's place."""
    import shoestring.jobs.recipe
    import shoestring.run

    assert shoestring.run is shoestring.jobs.recipe.run


# ------------------------------------------------ the embedded base


@pytest.fixture(scope="module")
def base():
    if not BASES["smollm2-135m"].path.exists():
        pytest.skip("needs `shoestring get smollm2-135m`")
    return load("smollm2-135m", dtype="float32")


@pytest.mark.base
@pytest.mark.slow
def test_the_base_knows_its_capitals(base):
    ids = base.template.render(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True
    ).ids
    reply: list[int] = []
    while not reply or (reply[-1] not in base.template.stop_ids and len(reply) < 30):
        reply.append(int(base.logits([ids + reply])[0, -1].argmax()))
    assert base.template.parse(reply, cut=False).answer == "The capital of France is Paris."


@pytest.mark.base
@pytest.mark.slow
def test_the_base_in_transformers(base, tmp_path):
    base.save(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for messages in random_conversations(200, seed=9):
        prompt = messages[-1]["role"] != "assistant"
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
        assert base.template.render(messages, add_generation_prompt=prompt).ids == expected
    for messages in random_conversations(2, seed=10):
        ids = torch.tensor([base.template.render(messages).ids])
        with torch.inference_mode():
            assert (model(ids).logits - base.logits(ids)).abs().max() <= 1e-4
    assert tokenizer.pad_token_id not in base.template.stop_ids


@pytest.mark.base
def test_what_the_base_is_stays_with_it(base):
    (stage,) = base.lineage.stages
    assert (stage.name, stage.job) == ("smollm2-135m", "base")
    assert stage.detail["licence"] == "Apache-2.0"
    assert "4-bit" in stage.detail["precision"]
    assert stage.detail["sha256"].startswith("b179c9523d0e")
    assert json.dumps(stage.detail)
    assert (base.template.stop_ids, base.tokenizer.pad_id) == ((2,), 16)
