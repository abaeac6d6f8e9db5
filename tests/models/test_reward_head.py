"""A reward network's folder gives in transformers the scores that it gives here."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel, load
from shoestring.models.reward_head import RewardNetwork, load_reward_checkpoint, write_reward_checkpoint
from shoestring.models.shards import read_json, write_json
from shoestring.models.transformer import Transformer
from shoestring.rl.preference import PreferenceModel
from shoestring.text.message import Message, Reply
from tiny import tiny_lm
from tiny_v3 import tiny_v3

QUESTIONS = ["Why?", "What is the capital of Japan?", "Name three fruits, please."]
REPLIES = ["Because.", "Tokyo.", "Apples, pears and plums are fruits."]


def rows(model: PreferenceModel):
    asked = [[Message(role="user", content=text)] for text in QUESTIONS]
    return [model.render(q, Reply(None, r)) for q, r in zip(asked, REPLIES, strict=True)]


def of_family(name: str, **changes) -> LanguageModel:
    lm = tiny_lm()
    lm.config = dataclasses.replace(lm.config, model_type=name, **changes)
    lm.network = Transformer(lm.config)
    lm.network.init_weights(0)
    return lm


def start(lm: LanguageModel) -> PreferenceModel:
    return PreferenceModel.start(lm, "helpful", seed=3)


def flat(model: PreferenceModel) -> list[float]:
    return model.raw_scores([rows(model)])[0]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (tiny_lm, "LlamaForSequenceClassification"),
        (tiny_v3, "DeepseekV3ForSequenceClassification"),
        (lambda: of_family("qwen2", attention_bias=True), "Qwen2ForSequenceClassification"),
        (lambda: of_family("qwen3", qk_norm=True), "Qwen3ForSequenceClassification"),
    ],
)
def test_scores_equal_transformers(make, name, tmp_path):
    model = start(make())
    ours = flat(model)
    model.save(tmp_path)
    assert read_json(tmp_path / "config.json")["architectures"] == [name]
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == name
    assert theirs.config.num_labels == 1
    with torch.no_grad():
        alone = [theirs(torch.tensor([row.ids])).logits for row in rows(model)]
        # as a reader would: the tokenizer's own padding, which the model's config knows
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        batch = tokenizer.pad({"input_ids": [row.ids for row in rows(model)]}, return_tensors="pt")
        padded = theirs(**batch).logits
    assert alone[0].shape == (1, 1)
    assert torch.cat(alone)[:, 0].tolist() == pytest.approx(ours, abs=2e-4)
    assert padded[:, 0].tolist() == pytest.approx(ours, abs=2e-4)
    assert max(ours) - min(ours) > 0.05
    again = PreferenceModel.load(tmp_path, dtype="float32")
    assert flat(again) == pytest.approx(ours, abs=1e-5)


def test_padding_never_ends_a_turn():
    """With a tokenizer that pads with the end of a turn, transformers would score the token before it."""
    lm = tiny_lm()
    lm.tokenizer = lm.tokenizer.with_pad("<|im_end|>")
    model = start(lm)
    assert model.tokenizer.pad_id not in model.template.stop_ids
    assert rows(model)[0].ids[-1] == lm.tokenizer.token_id("<|im_end|>")


def test_what_is_scored_ends_with_the_end_of_turn():
    """The template writes a newline after it."""
    model = start(tiny_lm())
    whole = model.template.render(
        [Message(role="user", content="Why?"), Message(role="assistant", content="Because.")]
    )
    assert whole.ids[:-1] == rows(model)[0].ids


def test_the_body_has_no_head(tmp_path):
    lm = tiny_v3()
    assert lm.network.lm_head is not None
    network = RewardNetwork.on(lm.network, seed=0)
    write_reward_checkpoint(network, tmp_path, pad_id=258)
    assert len(network.body.mtp) == 0
    again = load_reward_checkpoint(tmp_path, torch.bfloat16, "cpu")
    assert again.score.dtype == torch.float32
    assert torch.equal(again.score, network.score)
    assert again.body.embed_tokens.dtype == torch.bfloat16
    assert "lm_head.weight" not in dict(again.body.public_tensors())


def test_the_new_head_depends_on_the_seed_alone():
    one, two, other = (RewardNetwork.on(tiny_lm().network, seed).score for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_folders_that_are_no_reward_model(tmp_path):
    tiny_lm().save(tmp_path / "lm")
    with pytest.raises(BadInput, match=r"not a reward model.*score.weight"):
        load_reward_checkpoint(tmp_path / "lm", torch.float32, "cpu")
    with pytest.raises(BadInput, match="no such folder"):
        PreferenceModel.load(tmp_path / "nowhere")
    model = start(tiny_lm())
    model.save(tmp_path / "rm")
    with pytest.raises(BadInput, match=r"score\.weight"):
        load(tmp_path / "rm")  # a reward model can't talk
    (tmp_path / "rm/preference.json").unlink()
    with pytest.raises(BadInput, match=r"preference\.json lacks kind"):
        PreferenceModel.load(tmp_path / "rm")
    write_json(tmp_path / "rm/preference.json", {"kind": "funny", "mean": 0, "std": 1})
    with pytest.raises(BadInput, match="lacks kind"):
        PreferenceModel.load(tmp_path / "rm")


def test_a_head_of_another_size_or_with_nan_is_refused(tmp_path):
    for name, score in (("wide", torch.zeros(1, 33)), ("nan", torch.full((1, 32), float("nan")))):
        write_reward_checkpoint(RewardNetwork(start(tiny_lm()).network.body, score), tmp_path / name, 258)
    with pytest.raises(BadInput, match=r"\[1, 33\], not \[1, 32\]"):
        load_reward_checkpoint(tmp_path / "wide", torch.float32, "cpu")
    with pytest.raises(BadInput, match="NaN"):
        load_reward_checkpoint(tmp_path / "nan", torch.float32, "cpu")
