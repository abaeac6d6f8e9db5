"""What is learnt beside the main loss: MTP's targets and loss, the balance loss, the routers' biases."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from shoestring.lm import LanguageModel
from shoestring.models.cache import CausalRows
from shoestring.text.message import PackedBatch, Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives, balance_biases, further_targets
from shoestring.train.optim import OptimSettings
from shoestring.train.state import load_state, save_state
from tiny_v3 import tiny_v3, v3_network

OPTIM = OptimSettings(learning_rate=1e-2, warmup_steps=0)


def row(ids: list[int], trained: list[bool] | None = None) -> Rendered:
    return Rendered(ids, trained or [True] * len(ids))


def batch_of(packed: PackedBatch) -> MicroBatch:
    return MicroBatch(packed, torch.full((len(packed.targets),), 1.0 / len(packed.targets)))


def test_further_targets_by_hand() -> None:
    packed = pack([Family([], [row([10, 11, 12, 13]), row([20, 21])])])
    first = further_targets(packed, 0)
    assert first.next_ids.tolist() == [11, 12, 13, 0, 21, 0]
    # 12 and 13 are predicted from the states of 10 and 11, which read 11 and 12; 21 has nothing before 20
    assert first.predict_from.tolist() == [0, 1]
    assert first.targets.tolist() == [12, 13]
    assert first.kept.tolist() == [1, 2]
    second = further_targets(packed, 1)
    assert second.next_ids.tolist() == [12, 13, 0, 0, 0, 0]
    assert second.predict_from.tolist() == [0]
    assert second.targets.tolist() == [13]


def test_further_targets_stay_in_their_row_behind_a_shared_beginning() -> None:
    packed = pack([Family([1, 2, 3], [row([10, 11, 12]), row([20, 21])])])
    found = further_targets(packed, 0)
    # 10 and 20 follow the beginning's end, whose last state but one has read the 3 before them; 11 and 21
    # would need a state of the 3 that has read 10 or 20; 12 has that of the 10 (place 3)
    assert found.predict_from.tolist() == [1, 3, 1]
    assert found.targets.tolist() == [10, 12, 20]


def reference_loss(lm: LanguageModel, rows: list[list[int]], weight: float, alpha: float) -> torch.Tensor:
    """Row by row, whole logits: main + weight * MTP + alpha * balance."""
    network = lm.network.requires_grad_(True)
    targets = sum(len(r) - 1 for r in rows)
    total = torch.zeros(())
    for ids in rows:
        flat, positions = torch.tensor(ids), torch.arange(len(ids))
        output = network(flat[None], positions[None])
        hidden = output.hidden[0]
        losses = F.cross_entropy(network.head(hidden)[:-1], flat[1:], reduction="sum")
        further = network.predict_further(
            0, hidden[:-1], flat[1:], positions[:-1], CausalRows(1, len(ids) - 1)
        )
        mtp = F.cross_entropy(network.head(further.hidden)[:-1], flat[2:], reduction="sum")
        total = total + (losses + weight * mtp) / targets
        assert output.aux_loss is not None
        total = total + alpha * output.aux_loss / len(rows)
    return total


def test_main_mtp_and_balance_losses_equal_the_plain_ones() -> None:
    rows = [[5, 9, 200, 31, 7, 8], [6, 77, 1, 3, 3, 3], [90, 91, 92, 93, 94, 95]]
    lm = tiny_v3()
    expected = reference_loss(lm, rows, 0.3, 0.0)
    expected.backward()
    wanted = {n: p.grad.clone() for n, p in lm.network.named_parameters() if p.grad is not None}
    learner = Learner(tiny_v3(), OPTIM, 10, Objectives(mtp_weight=0.3))
    packed = pack([Family([], [row(ids) for ids in rows])])
    loss, _ = learner.forward(batch_of(packed), sft_loss)
    loss.backward()
    torch.testing.assert_close(loss, expected.detach())
    found = dict(zip(learner.optimizer.names, learner.optimizer.grads, strict=True))
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6)


def test_the_balance_loss_is_added_with_its_weight() -> None:
    packed = pack([Family([], [row([5, 9, 200, 31]), row([6, 77, 1, 3])])])
    losses = []
    for alpha in (0.0, 0.5):
        learner = Learner(tiny_v3(), OPTIM, 10, Objectives(balance_weight=alpha))
        losses.append(learner.forward(batch_of(packed), sft_loss)[0])
    lm = tiny_v3()
    lm.network.requires_grad_(True)
    output = lm.network(torch.tensor([[5, 9, 200, 31], [6, 77, 1, 3]]), torch.arange(4).expand(2, 4))
    assert output.aux_loss is not None
    torch.testing.assert_close(losses[1] - losses[0], 0.5 * output.aux_loss.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("split", [[4, 1], [2, 2, 1], [1] * 5])
def test_the_balance_loss_is_of_rows_however_they_fall_into_micro_batches(split: list[int]) -> None:
    rows = [row(list(range(10 + 7 * i, 16 + 9 * i))) for i in range(5)]
    targets = sum(len(r.ids) - 1 for r in rows)

    def norm(sizes: list[int]) -> float:
        batches, left = [], list(rows)
        for size in sizes:
            packed = pack([Family([], [left.pop(0)]) for _ in range(size)])
            batches.append(MicroBatch(packed, torch.full((len(packed.targets),), 1.0 / targets)))
        learner = Learner(tiny_v3(), OPTIM, 10, Objectives(balance_weight=10.0))
        return learner.update(batches, sft_loss).grad_norm

    assert norm(split) == pytest.approx(norm([5]), rel=1e-5)


def test_modules_that_nothing_trains_stay_as_they_are() -> None:
    lm = tiny_v3()
    before = {name: p.detach().clone() for name, p in lm.network.named_parameters()}
    learner = Learner(lm, OPTIM.model_copy(update={"weight_decay": 0.1}), 10)
    packed = pack([Family([], [row(list(range(10, 30)))])])
    for _ in range(2):
        assert learner.update([batch_of(packed)], sft_loss).mtp_loss is None
    for name, p in lm.network.named_parameters():
        own = name.startswith("mtp.")
        assert torch.equal(p, before[name]) is own, name


def test_a_network_without_modules_has_no_mtp_loss() -> None:
    learner = Learner(tiny_v3(num_nextn_predict_layers=0), OPTIM, 10, Objectives(mtp_weight=0.3))
    packed = pack([Family([], [row(list(range(10, 30)))])])
    assert learner.update([batch_of(packed)], sft_loss).mtp_loss is None


def test_biases_step_towards_an_even_load() -> None:
    network = v3_network()
    loads = torch.tensor([[4, 0, 2, 2, 2, 2, 2, 2], [2] * 8])
    balance_biases(network, loads, 0.001)
    first, second = (router.e_score_correction_bias for router in network.routers()[:2])
    torch.testing.assert_close(first, torch.tensor([-0.001, 0.001, 0, 0, 0, 0, 0, 0]))
    assert second.abs().max() == 0


def test_an_update_moves_the_biases_and_says_how_uneven_the_load_was() -> None:
    lm = tiny_v3()
    learner = Learner(lm, OPTIM, 10, Objectives(bias_update_speed=0.01, mtp_weight=0.3))
    packed = pack([Family([], [row(list(range(10, 30)))])])
    metrics = learner.update([batch_of(packed)], sft_loss)
    assert metrics.max_vio is not None
    assert metrics.max_vio.shape == (3,)
    assert metrics.mtp_loss is not None
    assert metrics.mtp_loss > 0
    assert {round(b, 4) for b in lm.network.routers()[2].e_score_correction_bias.tolist()} <= {-0.01, 0, 0.01}


def test_biases_are_part_of_the_saved_state(tmp_path: Path) -> None:
    objectives = Objectives(bias_update_speed=0.01, mtp_weight=0.3, balance_weight=1e-3)
    packed = batch_of(pack([Family([], [row(list(range(10, 30)))])]))
    whole, halves = tiny_v3(), tiny_v3()
    learner = Learner(whole, OPTIM, 10, objectives)
    for _ in range(4):
        learner.update([packed], sft_loss)
    first = Learner(halves, OPTIM, 10, objectives)
    for _ in range(2):
        first.update([packed], sft_loss)
    save_state(tmp_path, first.state_dict(), {})
    fresh = tiny_v3(seed=9)
    second = Learner(fresh, OPTIM, 10, objectives)
    second.load_state_dict(load_state(tmp_path, {}))
    for _ in range(2):
        second.update([packed], sft_loss)
    for (name, a), (_, b) in zip(whole.network.public_tensors(), fresh.network.public_tensors(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("split", [1, 2])
def test_packed_rows_equal_rows_alone(split: int) -> None:
    """Mixtures and latents know no neighbours: the same loss and gradients however rows lie together."""
    rows = [row(list(range(10 + i, 24 + 2 * i))) for i in range(4)]
    targets = sum(len(r.ids) - 1 for r in rows)

    def gradients(parts: list[list[Rendered]]) -> dict[str, torch.Tensor]:
        learner = Learner(tiny_v3(), OPTIM, 10)
        for part in parts:
            packed = pack([Family([], part)])
            weights = torch.full((len(packed.targets),), 1.0 / targets)
            learner.forward(MicroBatch(packed, weights), sft_loss)[0].backward()
        return dict(zip(learner.optimizer.names, learner.optimizer.grads, strict=True))

    together = gradients([rows[:split], rows[split:]])
    for name, grad in gradients([[r] for r in rows]).items():
        torch.testing.assert_close(together[name], grad, rtol=1e-4, atol=1e-6)


def test_a_shared_prompt_gives_the_gradients_of_prompts_of_their_own() -> None:
    prompt = list(range(30, 44))
    replies = [[50, 60, 70, 256], [51, 256], [52, 53, 54, 55, 56, 57, 256]]
    total = sum(map(len, replies))

    def gradients(families: list[Family]) -> tuple[float, dict[str, torch.Tensor]]:
        learner = Learner(tiny_v3(), OPTIM, 10)
        packed = pack(families)
        batch = MicroBatch(packed, torch.full((len(packed.targets),), 1.0 / total))
        loss, _ = learner.forward(batch, sft_loss)
        loss.backward()
        return loss.item(), dict(zip(learner.optimizer.names, learner.optimizer.grads, strict=True))

    shared, found = gradients([Family(prompt, [row(reply) for reply in replies])])
    mask = [False] * len(prompt)
    own = [row(prompt + reply, mask + [True] * len(reply)) for reply in replies]
    alone, wanted = gradients([Family([], own)])
    assert shared == pytest.approx(alone, rel=1e-5)
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6)
