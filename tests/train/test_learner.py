"""One optimizer step: the same whatever the split into micro-batches, packing and sharing."""

import pytest
import torch

from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack, share_prefix
from shoestring.train.batch import MicroBatch, sum_of_contexts
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss
from shoestring.train.optim import OptimSettings
from shoestring.train.state import TrainState, load_state, save_state
from tiny import tiny_lm

SETTINGS = OptimSettings(learning_rate=1e-2, warmup_steps=0)
PROMPT = list(range(30, 44))


def rows() -> list[Rendered]:
    """Five rows that begin alike; their replies are of different lengths."""
    replies = [[50, 60, 70, 256], [51, 256], [52, 53, 54, 55, 56, 57, 256], [61, 62, 256], [58] * 20]
    return [
        Rendered([*PROMPT, 90 + i, *reply], [False] * (len(PROMPT) + 1) + [True] * len(reply), f"r{i}")
        for i, reply in enumerate(replies)
    ]


def micro_batch(families: list[Family], total: int) -> MicroBatch:
    packed = pack(families)
    return MicroBatch(packed, torch.full((len(packed.targets),), 1.0 / total))


TARGETS = sum(sum(r.trained) for r in rows())


def gradients(lm: LanguageModel, batches: list[MicroBatch]) -> tuple[float, dict[str, torch.Tensor]]:
    """The step's loss and its summed gradient, by plain accumulation."""
    learner = Learner(lm, SETTINGS, 10)
    total = 0.0
    for batch in batches:
        loss, _ = learner.forward(batch, sft_loss)
        loss.backward()
        total += loss.item()
    return total, dict(zip(learner.optimizer.names, learner.optimizer.grads, strict=True))


def reference() -> tuple[float, dict[str, torch.Tensor]]:
    """Each row alone through plain causal text and torch's cross entropy."""
    network = tiny_lm().network.requires_grad_(True)
    total = torch.zeros(())
    for row in rows():
        ids = torch.tensor([row.ids])
        logits = network.head(network(ids, torch.arange(ids.shape[1])[None]).hidden)[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        total = total + losses[torch.tensor(row.trained[1:])].sum() / TARGETS
    total.backward()
    return total.item(), {n: p.grad for n, p in network.named_parameters()}


def own(chosen: list[Rendered]) -> list[Family]:
    return [Family([], [row]) for row in chosen]


SPLITS = {
    "one": lambda r: [own(r)],
    "two": lambda r: [own(r[:2]), own(r[2:])],
    "five": lambda r: [own([row]) for row in r],
    "shared": lambda r: [[share_prefix(r)]],
    "shared in two": lambda r: [[share_prefix(r[:3])], [share_prefix(r[3:])]],
    "shared and own": lambda r: [[share_prefix(r[:3]), *own(r[3:])]],
}


@pytest.mark.parametrize("split", SPLITS)
def test_the_split_changes_neither_loss_nor_gradient(split):
    wanted_loss, wanted = reference()
    loss, grads = gradients(tiny_lm(), [micro_batch(f, TARGETS) for f in SPLITS[split](rows())])
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    for name, grad in wanted.items():
        assert torch.allclose(grads[name], grad, atol=2e-6, rtol=1e-4), name
        assert grad.abs().max() > 1e-5, name


def test_sharing_saves_tokens_and_work():
    shared, apart = pack([share_prefix(rows())]), pack(own(rows()))
    assert len(apart.ids) - len(shared.ids) == 4 * len(PROMPT)
    assert sum_of_contexts(apart) - sum_of_contexts(shared) == 4 * len(PROMPT) * (len(PROMPT) + 1) // 2


def test_an_update_moves_the_weights_towards_the_data_and_tells_what_it_did():
    lm = tiny_lm()
    learner = Learner(lm, SETTINGS, 10)
    before = {n: t.clone() for n, t in learner.weights()}
    batch = micro_batch(own(rows()), TARGETS)
    losses = [learner.update([batch], sft_loss) for _ in range(10)]
    assert losses[-1].loss < 0.5 * losses[0].loss
    assert all(not torch.equal(t, before[n]) for n, t in learner.weights())
    assert losses[0].learning_rate == 1e-2
    assert losses[0].grad_norm > 0
    assert not losses[0].skipped
    mean = -losses[0].logprobs[0].mean().item()  # under the weights before the step
    assert mean == pytest.approx(losses[0].loss, rel=1e-5)


def reward_first(logprobs, batch):
    assert batch.advantages is not None
    return -(logprobs.exp() * batch.advantages).sum()


def test_a_rewarded_token_becomes_likelier_and_no_advantage_means_no_gradient():
    def logprob_after(advantage: float) -> tuple[float, float, float]:
        learner = Learner(tiny_lm(), SETTINGS, 10)
        packed = pack([Family(PROMPT, [Rendered([77], [True])])])
        batch = MicroBatch(packed, torch.ones(1), torch.tensor([advantage]))
        updates = [learner.update([batch], reward_first) for _ in range(4)]
        return updates[0].logprobs[0].item(), updates[-1].logprobs[0].item(), updates[0].grad_norm

    before, after, _ = logprob_after(1.0)
    assert after > before + 0.1
    before, after, _ = logprob_after(-1.0)
    assert after < before - 0.1
    before, after, norm = logprob_after(0.0)
    assert (after, norm) == (before, 0.0)


def not_finite(logprobs, batch):
    return (logprobs * float("nan")).sum()


def test_a_step_without_a_finite_gradient_is_skipped_and_three_in_a_row_end_the_run():
    learner = Learner(tiny_lm(), SETTINGS, 10)
    batch = micro_batch(own(rows()), TARGETS)
    learner.update([batch], sft_loss)
    before = {n: t.clone() for n, t in learner.weights()}
    assert learner.update([batch], not_finite).skipped
    assert learner.update([batch], not_finite).skipped
    assert all(torch.equal(t, before[n]) for n, t in learner.weights())
    assert not learner.update([batch], sft_loss).skipped  # the gradient was cleared, the count starts again
    assert learner.step == 4
    for _ in range(2):
        learner.update([batch], not_finite)
    with pytest.raises(ShoestringError, match=r"3 steps in a row.*step 7.*learning rate"):
        learner.update([batch], not_finite)


def test_state_goes_to_disk_and_back_and_the_next_steps_are_the_same(tmp_path):
    batch = micro_batch(own(rows()), TARGETS)
    one = Learner(tiny_lm(), SETTINGS, 10)
    for loss in (sft_loss, sft_loss, not_finite, not_finite):
        one.update([batch], loss)
    save_state(tmp_path, one.state_dict(), {})
    two = Learner(tiny_lm(seed=5), SETTINGS, 10)
    two.load_state_dict(load_state(tmp_path, {}))
    assert two.step == 4
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(one.weights(), two.weights(), strict=True))
    with pytest.raises(ShoestringError, match="in a row"):  # bad steps count across a resume
        two.update([batch], not_finite)
    two.load_state_dict(load_state(tmp_path, {}))
    for learner in (one, two):
        learner.update([batch], sft_loss)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(one.weights(), two.weights(), strict=True))


@pytest.mark.parametrize("name", ["optimizer.safetensors", "progress.json"])
def test_a_state_that_was_damaged_is_one_line(tmp_path, name):
    save_state(tmp_path, Learner(tiny_lm(), SETTINGS, 10).state_dict(), {})
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ShoestringError, match=r"can't be read.*remove that folder"):
        load_state(tmp_path, {})


@pytest.mark.cuda
def test_cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    lm, same = tiny_lm(), tiny_lm()
    lm.network.to("cuda")
    batches = [micro_batch([share_prefix(rows())], TARGETS)]
    ours, theirs = (Learner(m, SETTINGS, 10) for m in (lm, same))
    for _ in range(2):
        a, b = ours.update(batches, sft_loss), theirs.update(batches, sft_loss)
        assert a.loss == pytest.approx(b.loss, rel=1e-4)
        assert torch.allclose(a.logprobs[0], b.logprobs[0], atol=1e-4)
    lm = tiny_lm()
    lm.network.to("cuda")
    resumed = Learner(lm, SETTINGS, 10)
    saved = TrainState(2, 0, {name: tensor.cpu() for name, tensor in ours.state_dict().tensors.items()})
    resumed.load_state_dict(saved)
    assert resumed.update(batches, sft_loss).loss == pytest.approx(
        ours.update(batches, sft_loss).loss, rel=1e-5
    )
