"""Adapters: what they hold is peft's, what they train is what is sampled, and the base stays as it was."""

import json

import pytest
import torch
from safetensors.torch import load_file

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.lm import LanguageModel, load
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters, LoRASettings
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.state import load_state, save_state
from tiny import tiny_lm
from tiny_v3 import tiny_v3

SETTINGS = OptimSettings(learning_rate=1e-2, warmup_steps=0)
LORA = LoRASettings(rank=4, alpha=8)
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LATENT = ["q_a_proj", "kv_a_proj_with_mqa", "q_b_proj", "kv_b_proj", "o_proj"]


def v3_without_mtp() -> LanguageModel:
    return tiny_v3(num_nextn_predict_layers=0)


MAKES = {"llama": tiny_lm, "v3": v3_without_mtp}


def batch(rows: int = 3) -> MicroBatch:
    prompt = list(range(30, 44))
    replies = [Rendered([50 + i, 60, 70 + i, 80, 256], [True] * 5) for i in range(rows)]
    packed = pack([Family(prompt, replies)])
    return MicroBatch(packed, torch.full((len(packed.targets),), 1.0 / len(packed.targets)))


def learner_of(lm: LanguageModel, lora: LoRASettings = LORA, seed: int = 0) -> Learner:
    return Learner(lm, SETTINGS, 10, adapters=Adapters(lm.network, lora, seed))


def trained(lm: LanguageModel, lora: LoRASettings = LORA, steps: int = 3) -> Learner:
    learner = learner_of(lm, lora)
    for _ in range(steps):
        learner.update([batch()], sft_loss)
    return learner


def adapters_of(learner: Learner) -> Adapters:
    assert learner.adapters is not None
    return learner.adapters


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", MAKES)
def test_peft_computes_the_same_with_the_adapter_and_merged(make, tmp_path):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    lm = MAKES[make]()
    lm.save(tmp_path / "base")
    learner = trained(lm, steps=6)
    adapters_of(learner).save(tmp_path / "adapter", str(tmp_path / "base"))
    lm.save(tmp_path / "merged")

    def opened(folder):
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    ids = torch.arange(40, 80)[None]
    ours = lm.logits(ids)
    untrained = MAKES[make]().logits(ids)
    assert (ours - untrained).abs().max() > 0.1
    wrapped = peft.PeftModel.from_pretrained(opened(tmp_path / "base"), tmp_path / "adapter")
    with torch.no_grad():
        assert torch.allclose(wrapped(ids).logits, ours, atol=1e-4)
        assert torch.allclose(wrapped.merge_and_unload()(ids).logits, ours, atol=1e-4)
        assert torch.allclose(opened(tmp_path / "merged")(ids).logits, ours, atol=1e-4)
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    assert config["target_modules"] == adapters_of(learner).targets


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", MAKES)
def test_the_gradient_of_the_factors_is_pefts(make, tmp_path):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    lm = MAKES[make]()
    lm.save(tmp_path / "base")
    learner = trained(lm)
    adapters_of(learner).save(tmp_path / "adapter", "base")
    row = list(range(40, 80))
    packed = pack([Family([], [Rendered(row, [True] * len(row))])])
    loss, _ = learner.forward(MicroBatch(packed, torch.full((39,), 1 / 39)), sft_loss)
    loss.backward()
    ours = dict(zip(learner.optimizer.names, learner.optimizer.grads, strict=True))

    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True)
    ids = torch.tensor([row])
    wanted = torch.nn.functional.cross_entropy(theirs(ids).logits[0, :-1], ids[0, 1:])
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    places = {id(p): name for name, p in lm.network.named_parameters()}
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    assert len(gradients) == len(ours) > 0
    for part, factors in adapters_of(learner).found:
        for kind, tensor in (("lora_A", factors.A), ("lora_B", factors.B)):
            expected = gradients[f"base_model.model.{part.name}.{kind}.default.weight"]
            assert torch.allclose(ours[places[id(tensor)]], expected, atol=2e-5, rtol=1e-3), (part.name, kind)
            assert expected.abs().max() > 1e-6, (part.name, kind)


def test_peft_names_and_float32(tmp_path):
    learner = trained(tiny_lm(), LoRASettings(rank=2, targets=["v_proj", "q_proj"]))
    adapters_of(learner).save(tmp_path, "base")
    stored = load_file(tmp_path / "adapter_model.safetensors")
    layer = "base_model.model.model.layers.{}.self_attn.{}.lora_{}.weight"
    assert set(stored) == {
        layer.format(i, kind, side) for i in (0, 1) for kind in ("q_proj", "v_proj") for side in "AB"
    }
    assert stored[layer.format(0, "v_proj", "A")].shape == (2, 32)
    assert stored[layer.format(0, "v_proj", "B")].shape == (16, 2)
    assert all(t.dtype == torch.float32 and t.abs().max() > 0 for t in stored.values())
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == [
        "q_proj",
        "v_proj",
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_targets_move_and_off_gives_the_base_back(dtype):
    lm = tiny_lm()
    lm.network.to(dtype)
    before = {name: tensor.clone() for name, tensor in lm.network.public_tensors()}
    learner = learner_of(lm, LoRASettings(rank=4, targets=["k_proj", "down_proj"]))
    assert all(torch.equal(t, before[n]) for n, t in learner.weights())  # B is zero
    losses = [learner.update([batch()], sft_loss).loss for _ in range(5)]
    assert losses[-1] < losses[0] - 0.05
    for name, tensor in learner.weights():
        moves = "k_proj" in name or "down_proj" in name
        assert torch.equal(tensor, before[name]) != moves, name
    after = {name: tensor.clone() for name, tensor in learner.weights()}
    with adapters_of(learner).off():
        assert all(torch.equal(t, before[n]) for n, t in learner.weights())
    assert all(torch.equal(t, after[n]) for n, t in learner.weights())


def test_the_optimizer_holds_nothing_of_the_base():
    lm = tiny_lm()
    learner = learner_of(lm, LoRASettings(rank=2, targets=["q_proj"]))
    learner.update([batch()], sft_loss)
    held = sum(t.numel() for t in learner.state_dict().tensors.values())
    assert sum(p.numel() for p in learner.optimizer.params) == 2 * 2 * (32 + 32)
    assert held < 3.1 * 2 * 2 * (32 + 32)  # masters, two moments, step counts
    assert all(p.grad is None for p in lm.network.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_sampled_is_what_is_trained(dtype):
    lm = tiny_lm()
    lm.network.to(dtype)
    learner = trained(lm)
    engine = Engine(lm, max_batch=8)
    engine.load_weights(learner.weights(), version=1)
    prompt = list(range(40, 60))
    ((made,),) = engine.generate([prompt], SamplingParams(max_tokens=12, ignore_eos=True))
    packed = pack([Family(prompt, [Rendered(made.ids, [True] * 12)])])
    _, logprobs = learner.forward(MicroBatch(packed, torch.ones(12)), sft_loss)
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    assert (logprobs - torch.tensor(made.logprobs)).abs().max() < tolerance


def test_a_resumed_adapter_goes_on_with_the_same_bits(tmp_path):
    whole = trained(tiny_lm(), steps=4)
    first = trained(tiny_lm(), steps=2)
    save_state(tmp_path, first.state_dict(), {})
    second = learner_of(tiny_lm(), seed=7)  # whose own draw is overwritten
    second.load_state_dict(load_state(tmp_path, {}))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first.weights(), second.weights(), strict=True))
    for _ in range(2):
        second.update([batch()], sft_loss)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(whole.weights(), second.weights(), strict=True))
    mine, theirs = adapters_of(whole).tensors(), adapters_of(second).tensors()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_a_draw_depends_on_seed_and_matrix_alone():
    def drawn(seed: int, targets: list[str]) -> torch.Tensor:
        adapters = Adapters(tiny_lm().network, LoRASettings(rank=4, targets=targets), seed)
        return adapters.tensors()["base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight"]

    assert torch.equal(drawn(0, ["o_proj"]), drawn(0, ["q_proj", "o_proj"]))
    assert not torch.equal(drawn(0, ["o_proj"]), drawn(1, ["o_proj"]))
    assert drawn(0, ["o_proj"]).abs().max() <= 32**-0.5


def test_without_targets_every_plain_matrix_is_one():
    dense = Adapters(tiny_lm().network, LORA, 0).targets
    assert dense == [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
    assert Adapters(v3_without_mtp().network, LORA, 0).targets == LATENT


@pytest.mark.parametrize(
    ("make", "targets", "message"),
    [
        ("llama", ["q_prj"], "this model has no 'q_prj', did you mean 'q_proj'"),
        ("llama", [], "lora.targets is empty"),
        ("llama", ["q_a_proj"], "choose from q_proj, k_proj"),
        ("v3", ["up_proj"], "'up_proj' is a matrix of experts, which have no adapters here"),
    ],
)
def test_targets_that_cannot_be(make, targets, message):
    with pytest.raises(BadInput, match=message):
        Adapters(MAKES[make]().network, LoRASettings(targets=targets), 0)


@pytest.mark.parametrize("objectives", [Objectives(mtp_weight=0.1), Objectives(bias_update_speed=0.01)])
def test_objectives_that_an_adapter_cannot_hold(objectives):
    lm = tiny_v3()
    with pytest.raises(BadInput, match="lora trains matrices of the main layers alone"):
        Learner(lm, SETTINGS, 10, objectives, Adapters(lm.network, LORA, 0))


def test_a_merged_model_loads_as_any_other(tmp_path):
    lm = tiny_lm()
    learner = trained(lm)
    lm.save(tmp_path)
    again = load(tmp_path, dtype="float32")
    stored = dict(again.network.public_tensors())
    assert all(torch.equal(tensor, stored[name]) for name, tensor in learner.weights())
