"""Written for llama.cpp and read back by our own reader: the same model, for every architecture."""

import dataclasses

import pytest
import torch

from releases import CONFIGS, LLAMA3, YARN, model_of
from shoestring.errors import BadInput
from shoestring.lm import load
from shoestring.models.config import RopeScaling
from shoestring.models.gguf_file import GGUFFile
from shoestring.release.gguf_write import write_gguf

IDS = [[5, 70, 71, 72, 200, 3, 9, 90, 91, 14]]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_logits(tmp_path, name):
    lm = model_of(CONFIGS[name])
    write_gguf(lm, tmp_path / "m.gguf", "f32")
    back = load(tmp_path / "m.gguf", dtype="float32")
    # other orders of the same sums, where rows of q and k were interleaved
    torch.testing.assert_close(back.logits(IDS), lm.logits(IDS), atol=2e-5, rtol=1e-4)
    assert back.logits(IDS).std() > 0.1
    assert back.template.source == lm.template.source
    assert back.template.stop_ids == lm.template.stop_ids
    assert back.tokenizer.encode("I'll take 12\n") == lm.tokenizer.encode("I'll take 12\n")
    assert back.lineage == lm.lineage


def test_the_config_of_a_v3_comes_back(tmp_path):
    lm = model_of(CONFIGS["v3-yarn"])
    write_gguf(lm, tmp_path / "m.gguf", "f32")
    back = load(tmp_path / "m.gguf", dtype="float32").config
    changed = {key for key, value in vars(lm.config).items() if vars(back)[key] != value}
    assert changed <= {"initializer_range", "num_nextn_predict_layers", "bos_token_id"}


@pytest.mark.parametrize(
    ("kind", "stored", "limit"),
    [("bf16", "BF16", 0.02), ("f16", "F16", 2e-3), ("q8_0", "Q8_0", 0.03), ("q4_0", "Q4_0", 0.4)],
)
def test_every_type(tmp_path, kind, stored, limit):
    lm = model_of(CONFIGS["llama"])
    written = write_gguf(lm, tmp_path / "m.gguf", kind)
    assert written.kinds[stored] >= 14
    assert written.kinds["F32"] == 5  # norms
    assert written.widened == ()
    assert set(written.kinds) <= {stored, "F32", "Q8_0"}
    back = load(tmp_path / "m.gguf", dtype="float32")
    error = (back.logits(IDS) - lm.logits(IDS)).norm() / lm.logits(IDS).norm()
    assert 0 < error < limit


def test_rows_that_are_no_whole_blocks_are_wider_and_counted(tmp_path):
    config = dataclasses.replace(CONFIGS["llama"], intermediate_size=48)
    written = write_gguf(model_of(config), tmp_path / "m.gguf", "q8_0")
    assert written.widened == ("blk.0.ffn_down.weight", "blk.1.ffn_down.weight")
    assert written.kinds["F16"] == 2
    assert load(tmp_path / "m.gguf").logits(IDS).isfinite().all()


def test_what_is_kept_in_float32_and_what_is_left_out(tmp_path):
    lm = model_of(CONFIGS["v3"])
    written = write_gguf(lm, tmp_path / "m.gguf", "q8_0")
    tensors = GGUFFile(tmp_path / "m.gguf").tensors
    assert tensors["blk.1.ffn_gate_inp.weight"].kind.name == "F32"
    assert tensors["blk.1.exp_probs_b.bias"].kind.name == "F32"
    assert not any(name.startswith("blk.3.") for name in tensors)
    assert any("of 1 MTP module" in note for note in written.notes)


def test_a_deepseek_file_can_be_served_in_few_bits(tmp_path):
    sizes = {"qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "head_dim": 32, "v_head_dim": 32}
    sizes |= {"q_lora_rank": 32, "kv_lora_rank": 32, "moe_intermediate_size": 32}
    lm = model_of(dataclasses.replace(CONFIGS["v3-one-group"], **sizes))
    write_gguf(lm, tmp_path / "m.gguf", "f32")
    assert "rounded anew" in load(tmp_path / "m.gguf", quantize="int8").quantized
    with pytest.raises(BadInput, match="write int8 or int4"):
        load(tmp_path / "m.gguf", quantize="file")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("v3", {"attention_bias": True}, "biases"),
        ("v3", {"n_shared_experts": 0}, "without a shared expert"),
        ("v3", {"moe_layer_freq": 2}, "every 2th layer"),
        ("v3", {"rope_scaling": YARN}, "mscale_all_dim"),
        ("v3", {"rope_scaling": RopeScaling("linear", 2.0)}, "linear rope scaling"),
        ("v3", {"kv_lora_rank": None, "q_lora_rank": None}, "plain attention"),
        ("v2", {"topk_method": "group_limited_greedy", "n_group": 2}, "best expert alone"),
        ("qwen3", {"rope_scaling": LLAMA3}, "Llama 3's rope scaling"),
        ("llama", {"rope_scaling": dataclasses.replace(YARN, attention_factor=1.3)}, "attention factor"),
    ],
)
def test_what_llama_cpp_cannot_do_is_refused(tmp_path, name, changes, said):
    lm = model_of(dataclasses.replace(CONFIGS[name], **changes))
    with pytest.raises(BadInput, match=said) as caught:
        write_gguf(lm, tmp_path / "m.gguf", "f32")
    assert "--format hf" in str(caught.value)
    assert not (tmp_path / "m.gguf").exists()


def test_numbers_that_no_half_can_say_are_refused(tmp_path):
    lm = model_of(CONFIGS["llama"])
    with torch.no_grad():
        lm.network.embed_tokens[3, 3] = 1e5
    with pytest.raises(BadInput, match=r"token_embd.weight has numbers beyond F16's.*bf16"):
        write_gguf(lm, tmp_path / "m.gguf", "f16")
    with torch.no_grad():
        lm.network.embed_tokens[3, 3] = float("nan")
    with pytest.raises(BadInput, match="NaN"):
        write_gguf(lm, tmp_path / "n.gguf", "bf16")


def test_more_ends_than_a_file_has_room_for_are_told(tmp_path):
    lm = model_of(CONFIGS["llama"])
    lm.template = type(lm.template)(lm.tokenizer, lm.template.source, (258, 257, 259))
    written = write_gguf(lm, tmp_path / "m.gguf", "f32")
    assert written.notes == ("a GGUF file has room for two tokens that end a turn; left out: '<pad>'",)
